"""Which engine trains, and in which arithmetic: decided from the model and a probe of the machine.

The probe's rates are kept in the cache, so that one machine always decides alike and a run that is
resumed goes on in the arithmetic it began in.
"""

import os
import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from journeyman.errors import MachineError, UsageError
from journeyman.events import Note, Reporter, ignore
from journeyman.files import atomic_file, content_id
from journeyman.model.machine import BF16_FLAGS, choose_precision
from journeyman.runs import cache_folder, processor_flags, versions
from journeyman.settings import Device, Engine, Precision, TrainSettings
from journeyman.train.devices import found_device, gpu_compiles, gpu_precision
from journeyman.train.threads import using_threads

if TYPE_CHECKING:
    from journeyman.train.fast.products import Arithmetic
    from journeyman.train.plan.resources import Room

_INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni")
_NO_BF16 = "this processor has neither amx_bf16 nor avx512_bf16"
# Tried in turn where memory is short: what holds fewer bytes a weight.
_NARROWER: dict[Precision, tuple[Precision, ...]] = {
    "fp32": ("bf16", "int8"),
    "bf16": ("int8",),
    "int8": (),
}
# Narrower numbers must pay: below this ratio the wider arithmetic is taken.
WORTH = 1.15
# Operations of a run. Compiling takes about a minute of two cores and saves a fifth of the rest.
WORTH_COMPILING = 5e13
# A product of a 7B's kind, small enough to be timed in a moment.
_PROBE_TOKENS, _PROBE_INPUTS, _PROBE_OUTPUTS = 512, 2048, 4096
_PROBE_ROUNDS = 5


class Rates(Struct, frozen=True):
    """Operations a second of frozen products on this machine; None where it cannot.

    int8 is by the processor's own instructions, kernel by the project's kernel for AVX2.
    """

    fp32: float
    bf16: float | None = None
    int8: float | None = None
    kernel: float | None = None


class Choice(Struct, frozen=True):
    """An engine, a precision, where it computes, and the reasons."""

    engine: Engine
    precision: Precision
    reasons: tuple[str, ...]
    device: Device = "cpu"


def choose(
    settings: TrainSettings,
    config: Any,
    report: Reporter = ignore,
    *,
    rates: Rates | None = None,
    room: "Room | None" = None,
) -> Choice:
    """Engine and precision of a run. Raises UsageError, MachineError for what was asked in vain.

    rates, room: of this machine, found here where they are not given.
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
        return Choice("fast", precision, (engine_why, where, why), device)
    rates = rates or measured_rates(report)
    if settings.precision == "auto":
        precision, why = _fitting(settings, config, rates, room)
    else:
        precision, why = _asked(settings.precision, rates)
    reasons = (engine_why, why) if settings.device == "cpu" else (engine_why, where, why)
    return Choice("fast", precision, reasons)


def _of_hf(settings: TrainSettings, why: str) -> Choice:
    if settings.precision == "int8" or settings.precision == "mixed":  # noqa: PLR1714 (narrows)
        raise UsageError(
            f"`--precision {settings.precision}` is the fast engine's, and this run has the other: "
            + why.removeprefix("engine hf: "),
            hint="use `--precision auto`",
        )
    found = choose_precision(settings.precision)
    return Choice("hf", found.name, (why, f"precision: {found.reason}"))


def _asked(precision: Precision, rates: Rates) -> tuple[Precision, str]:
    """The precision that was asked for and how it is had."""
    told = _told(rates)
    if precision == "mixed" and rates.bf16 is None:
        raise MachineError(
            f"mixed was asked for, and {_NO_BF16}",
            hint="use `--precision fp32` or `--precision int8`: here they are many times faster",
        )
    return precision, f"precision: {precision} was asked for{_held(precision, rates)} ({told})"


def _held(precision: Precision, rates: Rates) -> str:
    if precision != "bf16" or rates.bf16 is not None:
        return ""
    return f"; weights are held in bf16 and widened to fp32 for each product, for {_NO_BF16}"


def _quickest(rates: Rates) -> tuple[Precision, str]:
    """The quickest precision and why."""
    told = _told(rates)
    narrow = max(rates.int8 or 0.0, rates.kernel or 0.0)
    wide, name = max((rates.fp32, "fp32"), (rates.bf16 or 0.0, "bf16"))
    if narrow > WORTH * wide:
        return "int8", f"precision: int8, the quickest here ({told})"
    if name == "bf16" and wide > WORTH * rates.fp32:
        return "bf16", f"precision: bf16, the quickest here ({told})"
    return "fp32", f"precision: fp32, and nothing narrower is much quicker here ({told})"


def _fitting(
    settings: TrainSettings, config: Any, rates: Rates, room: "Room | None"
) -> tuple[Precision, str]:
    """The quickest precision, or the widest below it whose weights the memory can hold."""
    from journeyman.train.fast.memory import shortage
    from journeyman.train.plan.resources import memory_room

    room = room or memory_room()
    quickest, why = _quickest(rates)
    short = shortage(config, arithmetic_of(quickest), settings, room)
    if short is None or not _NARROWER[quickest]:
        return quickest, why
    for precision in _NARROWER[quickest]:
        if shortage(config, arithmetic_of(precision), settings, room) is None:
            break
    return precision, f"precision: {precision}, for {short}{_held(precision, rates)}"


def _told(rates: Rates) -> str:
    named = {
        "fp32": rates.fp32,
        "bf16": rates.bf16,
        "int8": rates.int8,
        "int8 by the AVX2 kernel": rates.kernel,
    }
    parts = [f"{name} {rate / 1e9:.0f}" for name, rate in named.items() if rate]
    return ", ".join(parts) + " GOP/s a core"


def arithmetic_of(
    precision: Precision, report: Reporter = ignore, *, device: Device = "cpu"
) -> "Arithmetic":
    """The fast engine's arithmetic for a resolved precision, on this machine."""
    import torch

    from journeyman.kernels.attention import find_attention

    found = _products(precision, report, device)
    if device == "cuda" or found.activations is not torch.float32:
        return found
    return msgspec.structs.replace(found, attention=find_attention(report))


def _products(precision: Precision, report: Reporter, device: Device) -> "Arithmetic":
    import torch

    from journeyman.kernels.integer_product import find_kernel
    from journeyman.train.fast.products import Arithmetic, Method

    has_bf16 = device == "cuda" or bool(_having(BF16_FLAGS))
    narrow = torch.bfloat16 if has_bf16 else torch.float32
    if precision == "fp32":
        return Arithmetic("fp32", "fp32", torch.float32)
    if precision == "bf16":
        method: Method = "bf16" if has_bf16 else "bf16 widened"
        return Arithmetic(method, method, narrow)
    if precision == "mixed":
        return Arithmetic("bf16", "int8", torch.bfloat16)
    if _having(_INT8_FLAGS):
        return Arithmetic("int8", "int8", narrow)
    kernel = find_kernel(report)
    if kernel is not None:
        return Arithmetic("int8 kernel", "int8 kernel", torch.float32, kernel)
    report(Note("int8 weights are multiplied in fp32: this processor has no quicker way"))
    return Arithmetic("int8 widened", "int8 widened", torch.float32)


def measured_rates(report: Reporter = ignore, *, threads: int = 1) -> Rates:
    """The rates of this machine, measured once for each version of torch.

    One thread decides: a run with more of them, or of more processes, must come to the same.
    """
    facts = (*sorted(processor_flags()), versions().get("torch", ""), str(threads))
    path = cache_folder() / "rates" / f"{content_id(*facts)}.json"
    if path.is_file():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Rates)
        except msgspec.DecodeError:
            report(Note(f"`{path}` cannot be read; the machine is measured again"))
    rates = measured_now(report, threads=threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(msgspec.json.encode(rates))
    return rates


def measured_now(report: Reporter = ignore, *, threads: int = 1) -> Rates:
    """The rates at this moment, for what is measured beside them; no run is decided by them."""
    import torch
    from torch.nn import functional

    from journeyman.kernels.integer_product import find_kernel

    generator = torch.Generator().manual_seed(0)
    states = torch.randn(_PROBE_TOKENS, _PROBE_INPUTS, generator=generator)
    weight = torch.randn(_PROBE_OUTPUTS, _PROBE_INPUTS, generator=generator)
    ways: dict[str, Callable[[], object]] = {"fp32": lambda: functional.linear(states, weight)}
    if _having(BF16_FLAGS):
        few, narrow = states.bfloat16(), weight.bfloat16()
        ways["bf16"] = lambda: functional.linear(few, narrow)
    rows, rounded = (x.mul(30).clamp(-127, 127).to(torch.int8) for x in (states, weight))
    if _having(_INT8_FLAGS):
        ways["int8"] = lambda: torch._int_mm(rows, rounded.t())
    elif (kernel := find_kernel(report)) is not None:
        scale = torch.ones(_PROBE_OUTPUTS)
        ways["kernel"] = lambda: kernel.forward(states, rounded, scale)
    with using_threads(threads):
        return Rates(**_best(ways))


def _best(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Operations a second of each way; they take turns, so that a moment's noise ends nowhere."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(_PROBE_ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    work = 2.0 * _PROBE_TOKENS * _PROBE_INPUTS * _PROBE_OUTPUTS
    return {name: work / taken for name, taken in seconds.items()}


def _having(flags: tuple[str, ...]) -> list[str]:
    return [flag for flag in flags if flag in processor_flags()]


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
