"""The rates of frozen products on this machine, in each arithmetic that it can multiply in.

They are kept in the cache, so that one machine always decides alike and a run that is resumed goes
on in the arithmetic it began in.
"""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from journeyman.events import Note, Reporter, ignore
from journeyman.files import atomic_file, content_id
from journeyman.model.machine import BF16_FLAGS
from journeyman.runs import cache_folder, processor_flags, versions
from journeyman.train.threads import using_threads

INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni")
# A product of a 7B's kind, small enough to be timed in a moment.
_PROBE_TOKENS, _PROBE_INPUTS, _PROBE_OUTPUTS = 512, 2048, 4096
_PROBE_ROUNDS = 5
# Goes up with what is measured, so that rates of another kernel are not taken for this one's.
_VERSION = "2"
# torch's rate is without what it needs around a product: rounding the activations to int8, and
# scaling the sums. The kernel does both inside, and its scales for parts of a row keep more of it.
_KERNEL_WORTH = 0.85


class Rates(Struct, frozen=True):
    """Operations a second of frozen products on this machine; None where it cannot.

    int8 is by torch's product of integers alone, kernel by the project's kernel with all it does.
    """

    fp32: float
    bf16: float | None = None
    int8: float | None = None
    kernel: float | None = None


def measured_rates(report: Reporter = ignore, *, threads: int = 1) -> Rates:
    """The rates of this machine, measured once for each version of torch.

    One thread decides: a run with more of them, or of more processes, must come to the same.
    """
    facts = (_VERSION, *sorted(processor_flags()), versions().get("torch", ""), str(threads))
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
    if processor_has(BF16_FLAGS):
        few, narrow = states.bfloat16(), weight.bfloat16()
        ways["bf16"] = lambda: functional.linear(few, narrow)
    rows, rounded = (x.mul(30).clamp(-127, 127).to(torch.int8) for x in (states, weight))
    if processor_has(INT8_FLAGS):
        ways["int8"] = lambda: torch._int_mm(rows, rounded.t())
    if (kernel := find_kernel(report)) is not None:
        scale = torch.ones(_PROBE_OUTPUTS)
        given = states.bfloat16() if processor_has(BF16_FLAGS) else states
        ways["kernel"] = lambda: kernel.forward(given, rounded, scale)
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


def has_quick_kernel(rates: Rates) -> bool:
    """Whether the project's own kernel multiplies int8 here, and not torch."""
    return rates.kernel is not None and rates.kernel >= _KERNEL_WORTH * (rates.int8 or 0.0)


def processor_has(flags: tuple[str, ...]) -> bool:
    """Whether this processor has any of these units."""
    return any(flag in processor_flags() for flag in flags)
