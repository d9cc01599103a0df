"""Which engine trains, and in which arithmetic: decided from the model and the machine's rates.

How quick the products of one model are on this machine, and which arithmetic that speaks for.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import MachineError, UsageError
from journeyman.events import Note, Reporter, ignore
from journeyman.machine.processor import choose_precision
from journeyman.settings import Device, Engine, Precision, ProductGroup, TrainSettings
from journeyman.train.engine.arithmetic import arithmetic_of
from journeyman.train.engine.devices import found_device, gpu_compiles, gpu_precision
from journeyman.train.engine.fast.shape import HEAD, shape_of
from journeyman.train.engine.product_rates import Rates, measured_rates

if TYPE_CHECKING:
    from journeyman.machine.memory_limits import MemoryRoom

_NO_BF16 = "this processor has neither amx_bf16 nor avx512_bf16"

# Tried in turn where memory is short: what holds fewer bytes a weight.
_NARROWER: dict[Precision, tuple[Precision, ...]] = {
    "fp32": ("bf16", "int8"),
    "bf16": ("int8",),
    "int8": (),
}


class EngineChoice(Struct, frozen=True):
    """An engine, a precision, where it computes, and the reasons.

    wide_products: the groups (`fast.shape`) whose products are wide though the precision is narrow.
    """

    engine: Engine
    precision: Precision
    reasons: tuple[str, ...]
    device: Device = "cpu"
    wide_products: tuple[ProductGroup, ...] = ()


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
    """Engine and precision of a run. Raises UsageError, MachineError for what was asked in vain.

    room: of this machine, found here where it is not given.
    """
    from journeyman.train.engine.fast.shape import reason_against

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


class QuickestPrecision(Struct, frozen=True):
    """A precision, the groups of products that are wide in it, and the reason."""

    precision: Precision
    wide: tuple[ProductGroup, ...]
    reason: str


class ModelRates(Struct, frozen=True):
    """By group of products (`fast.shape`): the rates of one, and the weights of all.

    never_int8: groups that are wide whatever is quicker.
    """

    rates: Mapping[ProductGroup, Rates]
    parameters: Mapping[ProductGroup, int]
    never_int8: tuple[ProductGroup, ...] = ()

    @property
    def has_bf16(self) -> bool:
        """Whether products of BF16 are multiplied as such."""
        return all(rates.bf16 is not None for rates in self.rates.values())

    def wide_groups(self) -> tuple[ProductGroup, ...]:
        """Those that could be INT8 and gain too little by it."""
        return tuple(
            group
            for group, rates in self.rates.items()
            if group not in self.never_int8 and rates.narrow <= _WORTH * rates.wide
        )

    def quickest(self) -> QuickestPrecision:
        """The quickest precision: INT8, with the groups that gain nothing by it wide, or BF16."""
        told = self.told()
        fp32, bf16 = self._mean(lambda x: x.fp32), self._mean(lambda x: x.bf16)
        wide, name = max((fp32, "fp32"), (bf16, "bf16"))
        groups = self.wide_groups()
        int8 = self._mean(lambda x: x.narrow, wide=(*groups, *self.never_int8))
        if int8 > _WORTH * wide:
            return QuickestPrecision("int8", groups, f"precision: int8, the quickest here ({told})")
        if name == "bf16" and wide > _WORTH * fp32:
            return QuickestPrecision("bf16", (), f"precision: bf16, the quickest here ({told})")
        reason = f"precision: fp32, and nothing narrower is much quicker here ({told})"
        return QuickestPrecision("fp32", (), reason)

    def told(self) -> str:
        """The rates of all products together, for people."""
        named = {
            "fp32": self._mean(lambda x: x.fp32),
            "bf16": self._mean(lambda x: x.bf16),
            "int8": self._mean(lambda x: x.int8),
            "int8 by the kernel": self._mean(lambda x: x.kernel),
        }
        parts = [f"{name} {rate / 1e9:.0f}" for name, rate in named.items() if rate]
        return ", ".join(parts) + " GOP/s a core"

    def _mean(
        self, rate_of: Callable[[Rates], float | None], *, wide: tuple[ProductGroup, ...] = ()
    ) -> float:
        """Operations a second of all products; 0 where one of them cannot be made so."""
        seconds = 0.0
        for group, parameters in self.parameters.items():
            rates = self.rates[group]
            rate = rates.wide if group in wide else rate_of(rates)
            if not rate:
                return 0.0
            seconds += parameters / rate
        return sum(self.parameters.values()) / seconds


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
    from journeyman.machine.memory_limits import memory_room
    from journeyman.train.engine.fast.memory import shortage

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


# Narrower numbers must pay: below this ratio the wider arithmetic is taken.
_WORTH = 1.15


def model_rates(config: Any, report: Reporter, rates_of: RatesOf = measured_rates) -> ModelRates:
    """The rates of a model of the family."""
    shape = shape_of(config)
    found = {group: rates_of(size, report) for group, size in shape.product_sizes.items()}
    # Where integers are multiplied in 8 bits they would round the output layer's gradient away.
    never: tuple[ProductGroup, ...] = (HEAD,) if found[HEAD].int8 is not None else ()
    return ModelRates(found, shape.group_parameters, never)


# Operations of a run. Compiling takes about a minute of two cores and saves a fifth of the rest.
WORTH_COMPILING = 5e13


def compiles(settings: TrainSettings, config: Any, *, tokens: int, report: Reporter) -> bool:
    """Whether the loops between the products are compiled. tokens: of the whole run.

    Raises MachineError where that was asked for and there is no compiler.
    """
    from journeyman.train.engine.fast.shape import shape_of

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
