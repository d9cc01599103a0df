"""Chooses engine, device, precision and compilation for a model on this machine.

`auto` takes the fastest precision by the measured rates of this model's own products, if the
weights fit into memory.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from journeyman.errors import MachineError, UsageError
from journeyman.events import Note, Reporter, ignore
from journeyman.machine.processor import choose_precision
from journeyman.settings import Device, Engine, Precision, TrainSettings
from journeyman.train.engine.arithmetic import arithmetic_of
from journeyman.train.engine.devices import choose_device, gpu_compiles, gpu_precision
from journeyman.train.engine.fast.shape import HEAD, DecoderShape, ProductGroup, shape_of
from journeyman.train.engine.product_rates import Rates, measured_rates

if TYPE_CHECKING:
    from journeyman.machine.memory_limits import MemoryRoom

# Operations of a run: compiling takes a minute on two cores and saves a fifth of the rest.
_WORTH_COMPILING = 5e13
# A precision with fewer bits must be faster by this ratio to be taken.
_WORTH = 1.15
_NO_BF16 = "this processor has neither amx_bf16 nor avx512_bf16"

# Tried in turn if a precision does not fit into memory: each has fewer bytes a weight.
_SMALLER: dict[Precision, tuple[Precision, ...]] = {
    "fp32": ("bf16", "int8"),
    "bf16": ("int8",),
    "int8": (),
}


class EngineChoice(Struct, frozen=True):
    """An engine, a precision and a device, with the reasons."""

    engine: Engine
    precision: Precision
    reasons: tuple[str, ...]
    device: Device = "cpu"


RatesOf = Callable[[tuple[int, int], Reporter], Rates]
"""The rates of a product of (inputs, outputs)."""


def choose(
    settings: TrainSettings,
    config: Any,
    report: Reporter = ignore,
    *,
    rates_of: RatesOf = measured_rates,
    room: "MemoryRoom | None" = None,
) -> EngineChoice:
    """Engine, precision and device of a run.

    room: by default this machine's memory. Raises UsageError or MachineError if the user requested
    something that this model or machine does not support.
    """
    from journeyman.train.engine.fast.shape import reason_against

    against = reason_against(config, max_tokens=settings.max_tokens)
    if settings.engine == "fast" and against:
        raise UsageError(f"`--engine fast` cannot train this model: {against}", hint="use `hf`")
    if settings.engine == "hf" or against:
        return _hf(settings, against or "it was requested")
    engine_reason = "engine fast: the model is of the Llama family"
    device, device_reason = choose_device(settings.device, settings.precision)
    if device == "cuda":
        precision, reason = gpu_precision(settings.precision)
        return EngineChoice("fast", precision, (engine_reason, device_reason, reason), device)
    rates = model_rates(config, report, rates_of)
    if settings.precision == "auto":
        precision, reason = _fastest_that_fits(settings, config, rates, room)
    else:
        precision, reason = settings.precision, _reason_if_requested(settings.precision, rates)
    reasons = [engine_reason, reason]
    if settings.device != "cpu":
        reasons.insert(1, device_reason)
    return EngineChoice("fast", precision, tuple(reasons))


def _hf(settings: TrainSettings, reason: str) -> EngineChoice:
    """The hf engine, which has neither INT8 nor a GPU. Raises UsageError, MachineError."""
    if settings.device == "cuda":
        raise UsageError(
            f"`--device cuda` needs the fast engine, but this run uses the hf engine: {reason}",
            hint="leave out `--device`",
        )
    if settings.precision == "int8" or settings.precision == "mixed":  # noqa: PLR1714 (narrows)
        raise UsageError(
            f"`--precision {settings.precision}` needs the fast engine, but this run uses the hf "
            f"engine: {reason}",
            hint="use `--precision auto`",
        )
    precision = choose_precision(settings.precision)
    reasons = (f"engine hf: {reason}", f"precision: {precision.reason}")
    return EngineChoice("hf", precision.name, reasons)


class ModelRates(Struct, frozen=True):
    """By product group (`fast.shape`): the rates of one product, and the parameters of all.

    head_stays_full: whether the output layer is never INT8.
    """

    rates: Mapping[ProductGroup, Rates]
    parameters: Mapping[ProductGroup, int]
    head_stays_full: bool = False

    @property
    def has_bf16(self) -> bool:
        """Whether the processor multiplies BF16."""
        return all(rates.bf16 is not None for rates in self.rates.values())

    def fastest(self) -> tuple[Precision, str]:
        """The fastest precision that is enough faster than one with more bits, and the reason."""
        fp32, bf16 = self._mean(lambda x: x.fp32), self._mean(lambda x: x.bf16)
        best, name = max((fp32, "fp32"), (bf16, "bf16"))
        if self._mean(lambda x: x.best_int8, full_head=self.head_stays_full) > _WORTH * best:
            return "int8", f"precision: int8, the fastest on this machine ({self.summary()})"
        if name == "bf16" and best > _WORTH * fp32:
            return "bf16", f"precision: bf16, the fastest on this machine ({self.summary()})"
        return "fp32", f"precision: fp32; fewer bits are hardly faster here ({self.summary()})"

    def summary(self) -> str:
        """The mean rates over all products, in words."""
        means = {
            "fp32": self._mean(lambda x: x.fp32),
            "bf16": self._mean(lambda x: x.bf16),
            "int8": self._mean(lambda x: x.int8),
            "int8 by the kernel": self._mean(lambda x: x.kernel),
        }
        parts = [f"{name} {rate / 1e9:.0f}" for name, rate in means.items() if rate]
        return ", ".join(parts) + " GOP/s a core"

    def _mean(self, rate_of: Callable[[Rates], float | None], *, full_head: bool = False) -> float:
        """Operations a second over all products; 0 if one of them has no such rate."""
        seconds = 0.0
        for group, parameters in self.parameters.items():
            rates = self.rates[group]
            rate = rates.full_precision if full_head and group == HEAD else rate_of(rates)
            if not rate:
                return 0.0
            seconds += parameters / rate
        return sum(self.parameters.values()) / seconds


def model_rates(config: Any, report: Reporter, rates_of: RatesOf = measured_rates) -> ModelRates:
    """The rates of a model of the Llama family."""
    shape = shape_of(config)
    rates = {group: rates_of(size, report) for group, size in shape.product_sizes.items()}
    # INT8 with 8-bit activations would round the output layer's gradient away.
    return ModelRates(rates, shape.group_parameters, rates[HEAD].int8 is not None)


def _reason_if_requested(precision: Precision, rates: ModelRates) -> str:
    """The reason for a precision that the user named. MachineError if the processor lacks it."""
    if precision == "mixed" and not rates.has_bf16:
        raise MachineError(
            f"`--precision mixed` was requested, but {_NO_BF16}",
            hint="use `--precision fp32` or `--precision int8`, which are many times faster here",
        )
    return f"precision: {precision} was requested{_upcast(precision, rates)} ({rates.summary()})"


def _upcast(precision: Precision, rates: ModelRates) -> str:
    if precision != "bf16" or rates.has_bf16:
        return ""
    return f"; weights are stored in bf16 and upcast to fp32 for each product, because {_NO_BF16}"


def _fastest_that_fits(
    settings: TrainSettings, config: Any, rates: ModelRates, room: "MemoryRoom | None"
) -> tuple[Precision, str]:
    """The fastest precision, or the first one with fewer bytes that fits into memory."""
    from journeyman.machine.memory_limits import memory_room
    from journeyman.train.engine.fast.memory import shortage

    room = room or memory_room()

    def shortage_in(precision: Precision) -> str | None:
        return shortage(config, arithmetic_of(precision), settings, room)

    fastest, reason = rates.fastest()
    short = shortage_in(fastest)
    smaller = _SMALLER[fastest]
    if short is None or not smaller:
        return fastest, reason
    # The last one if none fits; opening the engine then reports how much memory is missing.
    precision = next((one for one in smaller if shortage_in(one) is None), smaller[-1])
    return precision, f"precision: {precision}, because {short}{_upcast(precision, rates)}"


def compiles(
    settings: TrainSettings, shape: DecoderShape | None, *, tokens: int, report: Reporter
) -> bool:
    """Whether the elementwise loops between the products are compiled.

    shape: None for the hf engine, which compiles nothing. tokens: of the whole run. Raises
    MachineError if the user requested it and there is no compiler.
    """
    if shape is None or settings.compiled is False:
        return False
    if settings.device == "cuda":
        return gpu_compiles(settings.compiled)
    operations = 4.0 * shape.layer_parameters * shape.layers * tokens
    if settings.compiled is None and operations < _WORTH_COMPILING:
        return False
    if shutil.which(os.environ.get("CXX", "g++")):
        return True
    if settings.compiled:
        raise MachineError(
            "`--compiled` was requested, but there is no C++ compiler", hint="install `g++`"
        )
    report(Note("no C++ compiler (`g++`): norms and gates are not compiled and run slower"))
    return False
