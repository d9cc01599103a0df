"""The rates of frozen products on this machine, in each arithmetic that it can multiply in.

A product of each size that a model has is timed for itself: a short one may lose by being rounded
what a long one gains. They are kept in the cache, so that one machine always decides alike and a
run that is resumed goes on in the arithmetic it began in.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.events import Note, Reporter, ignore
from journeyman.files import atomic_file, content_id
from journeyman.machine.processor import BF16_FLAGS, processor_flags, processor_has
from journeyman.machine.torch_runtime import using_threads
from journeyman.runs import cache_folder, versions

if TYPE_CHECKING:
    from torch import Tensor

INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni")

LARGE = (2048, 4096)
"""(inputs, outputs) of a product of a large model's kind, timed in a moment. More of either changes
no rate, so larger ones count as this one."""

_PROBE_TOKENS = 512

_PROBE_ROUNDS = 5

# Goes up with what is measured, so that rates of another kernel are not taken for this one's.
_VERSION = "3"

# torch's rate is without what it needs around a product: rounding the activations to int8, and
# scaling the sums. The kernel does both inside, and its scales for parts of a row keep more of it.
_KERNEL_WORTH = 0.85

_Pass = Callable[[], object]


class Rates(Struct, frozen=True):
    """Operations a second of frozen products, forward and backward; None where there is no way.

    int8 is by torch's product of integers alone, kernel by the project's kernel with all it does.
    """

    fp32: float
    bf16: float | None = None
    int8: float | None = None
    kernel: float | None = None

    @property
    def full_precision(self) -> float:
        """Of products that are not INT8: BF16 if the processor multiplies it, else FP32."""
        return self.bf16 or self.fp32

    @property
    def best_int8(self) -> float:
        """Of INT8 products, rounding and scaling included; 0 if there is no fast way."""
        by_torch = _KERNEL_WORTH * (self.int8 or 0.0)
        return max(by_torch, self.kernel or 0.0)

    @property
    def has_quick_kernel(self) -> bool:
        """Whether the project's own kernel multiplies INT8, and not torch."""
        return self.kernel is not None and self.kernel >= self.best_int8


def measured_rates(size: tuple[int, int], report: Reporter = ignore, *, threads: int = 1) -> Rates:
    """The rates of a product of (inputs, outputs), measured once for each version of torch.

    One thread decides: a run with more of them, or of more processes, must come to the same.
    """
    inputs, outputs = (min(one, most) for one, most in zip(size, LARGE, strict=True))
    units = (*sorted(processor_flags()), versions().get("torch", ""))
    facts = (_VERSION, *units, str(threads), f"{inputs} x {outputs}")
    path = cache_folder() / "rates" / f"{content_id(*facts)}.json"
    if path.is_file():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Rates)
        except msgspec.DecodeError:
            report(Note(f"`{path}` cannot be read; the machine is measured again"))
    rates = measured_now((inputs, outputs), report, threads=threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(msgspec.json.encode(rates))
    return rates


def measured_now(
    size: tuple[int, int] = LARGE, report: Reporter = ignore, *, threads: int = 1
) -> Rates:
    """The rates at this moment, for what is measured beside them; no run is decided by them."""
    import torch

    inputs, outputs = size
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(_PROBE_TOKENS, inputs, generator=generator)
    gradient = torch.randn(_PROBE_TOKENS, outputs, generator=generator)
    weight = torch.randn(outputs, inputs, generator=generator)
    with torch.inference_mode(), using_threads(threads):
        seconds = _best_s(_ways(states, gradient, weight, report))
    work = 4.0 * _PROBE_TOKENS * inputs * outputs
    return Rates(**{name: work / taken for name, taken in seconds.items()})


def _ways(
    states: "Tensor", gradient: "Tensor", weight: "Tensor", report: Reporter
) -> dict[str, tuple[_Pass, _Pass]]:
    """Forward and backward of one product in each arithmetic that this processor has."""
    import torch
    from torch.nn import functional

    from journeyman.kernels.integer_product import find_integer_product
    from journeyman.train.engine.fast.int8_weights import quantised

    def wide(x: "Tensor", dy: "Tensor", w: "Tensor") -> tuple[_Pass, _Pass]:
        return (lambda: functional.linear(x, w)), (lambda: dy @ w)

    ways = {"fp32": wide(states, gradient, weight)}
    given, back = states, gradient
    if processor_has(BF16_FLAGS):
        given, back = states.bfloat16(), gradient.bfloat16()
        ways["bf16"] = wide(given, back, weight.bfloat16())
    narrow = quantised([weight])
    if processor_has(INT8_FLAGS):
        rows, columns = (x.mul(30).clamp(-127, 127).to(torch.int8) for x in (states, gradient))
        ways["int8"] = (
            lambda: torch._int_mm(rows, narrow.values.t()),
            lambda: torch._int_mm(columns, narrow.values),
        )
    if (kernel := find_integer_product(report)) is not None:
        ways["kernel"] = (
            lambda: kernel.forward(given, narrow.values, narrow.scale),
            lambda: kernel.backward(back, narrow.values, narrow.scale),
        )
    return ways


def _best_s(ways: Mapping[str, tuple[_Pass, _Pass]]) -> dict[str, float]:
    """Seconds of both passes in each way; they take turns, so a moment's noise ends nowhere."""
    seconds = {name: [float("inf")] * 2 for name in ways}
    for _ in range(_PROBE_ROUNDS):
        for name, passes in ways.items():
            for at, one in enumerate(passes):
                start = time.perf_counter()
                one()
                seconds[name][at] = min(seconds[name][at], time.perf_counter() - start)
    return {name: sum(both) for name, both in seconds.items()}
