"""Which engine trains, and in which arithmetic: decided from the model and the machine's rates."""

import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import MachineError, UsageError
from journeyman.events import Note, Reporter, ignore
from journeyman.model.machine import BF16_FLAGS, choose_precision
from journeyman.settings import Device, Engine, Precision, ProductGroup, TrainSettings
from journeyman.train.devices import found_device, gpu_compiles, gpu_precision
from journeyman.train.model_rates import ModelRates, QuickestPrecision, RatesOf, model_rates
from journeyman.train.product_rates import INT8_FLAGS, LARGE, measured_rates, processor_has

if TYPE_CHECKING:
    from journeyman.kernels.integer_product import IntegerProduct
    from journeyman.train.fast.products import Arithmetic
    from journeyman.train.plan.resources import MemoryRoom

_NO_BF16 = "this processor has neither amx_bf16 nor avx512_bf16"
# Tried in turn where memory is short: what holds fewer bytes a weight.
_NARROWER: dict[Precision, tuple[Precision, ...]] = {
    "fp32": ("bf16", "int8"),
    "bf16": ("int8",),
    "int8": (),
}
# Operations of a run. Compiling takes about a minute of two cores and saves a fifth of the rest.
WORTH_COMPILING = 5e13


class EngineChoice(Struct, frozen=True):
    """An engine, a precision, where it computes, and the reasons.

    wide_products: the groups (`fast.shape`) whose products are wide though the precision is narrow.
    """

    engine: Engine
    precision: Precision
    reasons: tuple[str, ...]
    device: Device = "cpu"
    wide_products: tuple[ProductGroup, ...] = ()


def choose(
    settings: TrainSettings,
    config: Any,
    report: Reporter = ignore,
    *,
    rates_of: RatesOf = measured_rates,
    room: "MemoryRoom | None" = None,
) -> EngineChoice:
    """Engine and precision of a run. Raises UsageError, MachineError for what was asked in vain.

    room: of this machine, found here where it is not given.
    """
    from journeyman.train.fast.shape import reason_against

    against = reason_against(config, max_tokens=settings.max_tokens)
    if settings.engine == "fast" and against:
        raise UsageError(f"`--engine fast` cannot train this model: {against}", hint="use `hf`")
    if settings.engine == "hf" or against:
        why = f"engine hf: {against}" if against else "engine hf: it was asked for"
        if settings.device == "cuda":
            raise UsageError(
                "`--device cuda` is the fast engine's, and this run has the other: "
                + why.removeprefix("engine hf: "),
                hint="leave `--device` out",
            )
        return _of_hf(settings, why)
    engine_why = "engine fast: the model is of the Llama family"
    device, where = found_device(settings.device, settings.precision)
    if device == "cuda":
        precision, why = gpu_precision(settings.precision)
        return EngineChoice("fast", precision, (engine_why, where, why), device)
    rates = model_rates(config, report, rates_of)
    if settings.precision == "auto":
        found = _fitting(settings, config, rates, room)
    else:
        found = _asked(settings, rates)
    reasons = [engine_why, found.reason]
    if settings.device != "cpu":
        reasons.insert(1, where)
    if found.wide:
        reasons.append(f"these products are wide all the same: {', '.join(found.wide)}")
    elif settings.wide_products:
        reasons.append(
            f"`--wide-products` changes nothing: no product is narrow in {found.precision}"
        )
    return EngineChoice("fast", found.precision, tuple(reasons), wide_products=found.wide)


def _of_hf(settings: TrainSettings, why: str) -> EngineChoice:
    if settings.precision == "int8" or settings.precision == "mixed":  # noqa: PLR1714 (narrows)
        raise UsageError(
            f"`--precision {settings.precision}` is the fast engine's, and this run has the other: "
            + why.removeprefix("engine hf: "),
            hint="use `--precision auto`",
        )
    found = choose_precision(settings.precision)
    return EngineChoice("hf", found.name, (why, f"precision: {found.reason}"))


def _asked(settings: TrainSettings, rates: ModelRates) -> QuickestPrecision:
    """The precision that was asked for and how it is had; no product is wide unasked."""
    precision = settings.precision
    if precision == "mixed" and not rates.has_bf16:
        raise MachineError(
            f"mixed was asked for, and {_NO_BF16}",
            hint="use `--precision fp32` or `--precision int8`: here they are many times faster",
        )
    held = _held(precision, rates)
    reason = f"precision: {precision} was asked for{held} ({rates.told()})"
    return QuickestPrecision(precision, _asked_wide(settings, precision), reason)


def _asked_wide(settings: TrainSettings, precision: Precision) -> tuple[ProductGroup, ...]:
    return settings.wide_products if precision in ("int8", "mixed") else ()


def _held(precision: Precision, rates: ModelRates) -> str:
    if precision != "bf16" or rates.has_bf16:
        return ""
    return f"; weights are held in bf16 and widened to fp32 for each product, for {_NO_BF16}"


def _fitting(
    settings: TrainSettings, config: Any, rates: ModelRates, room: "MemoryRoom | None"
) -> QuickestPrecision:
    """The quickest precision, or the widest below it whose weights the memory can hold."""
    from journeyman.train.fast.memory import shortage
    from journeyman.train.plan.resources import memory_room

    room = room or memory_room()

    def lacks(precision: Precision, wide: Sequence[str]) -> str | None:
        return shortage(config, arithmetic_of(precision, wide=wide), settings, room)

    found = rates.quickest()
    asked = _asked_wide(settings, found.precision)
    # In the order of the shape, each once.
    both = tuple(group for group in rates.rates if group in {*found.wide, *asked})
    short = lacks(found.precision, both)
    if short is None:
        return replace(found, wide=both)
    narrower = _NARROWER[found.precision]
    if not narrower or (both != asked and lacks(found.precision, asked) is None):
        return replace(found, wide=asked)
    # The last one, where none fits: opening the engine says by how much.
    fitting = (x for x in narrower if lacks(x, _asked_wide(settings, x)) is None)
    precision = next(fitting, narrower[-1])
    why = f"precision: {precision}, for {short}{_held(precision, rates)}"
    return QuickestPrecision(precision, _asked_wide(settings, precision), why)


def arithmetic_for(settings: TrainSettings, report: Reporter = ignore) -> "Arithmetic":
    """The fast engine's arithmetic for resolved settings, on this machine."""
    return arithmetic_of(
        settings.precision, report, device=settings.device, wide=settings.wide_products
    )


def arithmetic_of(
    precision: Precision,
    report: Reporter = ignore,
    *,
    device: Device = "cpu",
    wide: Sequence[str] = (),
) -> "Arithmetic":
    """The same for a resolved precision. wide: groups of products that are wide in any."""
    from journeyman.kernels.adapters import find_adapters
    from journeyman.kernels.attention import find_attention
    from journeyman.kernels.rows import find_rows

    found = _products(precision, report, device)
    if device == "cuda":
        return found
    return replace(
        found,
        wide=frozenset(wide),
        adapters=find_adapters(report),
        attention=find_attention(report),
        rows=find_rows(report),
    )


def _products(precision: Precision, report: Reporter, device: Device) -> "Arithmetic":
    import torch

    from journeyman.train.fast.products import Arithmetic, Method

    has_bf16 = device == "cuda" or processor_has(BF16_FLAGS)
    narrow = torch.bfloat16 if has_bf16 else torch.float32
    if precision == "fp32":
        return Arithmetic("fp32", "fp32", torch.float32)
    if precision == "bf16":
        method: Method = "bf16" if has_bf16 else "bf16 widened"
        return Arithmetic(method, method, narrow)
    kernel = _integer_kernel(report)
    if precision == "mixed":
        return Arithmetic("bf16", "int8" if kernel is None else "int8 kernel", narrow, kernel)
    if kernel is not None:
        return Arithmetic("int8 kernel", "int8 kernel", narrow, kernel)
    if processor_has(INT8_FLAGS):
        return Arithmetic("int8", "int8", narrow)
    report(Note("int8 weights are multiplied in fp32: this processor has no quicker way"))
    return Arithmetic("int8 widened", "int8 widened", torch.float32)


def _integer_kernel(report: Reporter) -> "IntegerProduct | None":
    """The project's own kernel, where torch is not quicker and one can be had."""
    from journeyman.kernels.integer_product import find_kernel

    by_torch = processor_has(INT8_FLAGS) and not measured_rates(LARGE, report).has_quick_kernel
    return None if by_torch else find_kernel(report)


def compiles(settings: TrainSettings, config: Any, *, tokens: int, report: Reporter) -> bool:
    """Whether the loops between the products are compiled. tokens: of the whole run.

    Raises MachineError where that was asked for and there is no compiler.
    """
    from journeyman.train.fast.shape import shape_of

    if settings.engine != "fast" or settings.compiled is False:
        return False
    if settings.device == "cuda":
        return gpu_compiles(settings.compiled)
    shape = shape_of(config)
    operations = 4.0 * shape.layer_parameters * shape.layers * tokens
    if settings.compiled is None and operations < WORTH_COMPILING:
        return False
    if shutil.which(os.environ.get("CXX", "g++")):
        return True
    if settings.compiled:
        raise MachineError(
            "`--compiled` was asked for, and there is no C++ compiler", hint="install `g++`"
        )
    report(Note("there is no C++ compiler (`g++`): norms and gates run as they are, and slower"))
    return False
