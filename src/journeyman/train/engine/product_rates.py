"""How fast this machine multiplies by frozen weights, in each arithmetic that it supports.

Each size of product in a model is timed, because rounding may cost a short product more than it
gains. The rates are kept in the cache, so that a machine always decides the same and a resumed run
keeps its arithmetic.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.events import Note, Reporter, ignore
from journeyman.files import atomic_file, content_id
from journeyman.machine.processor import BF16_FLAGS, processor_flags, processor_has
from journeyman.machine.torch_runtime import using_threads
from journeyman.runs import cache_folder, versions, wait_for_folder_lock

if TYPE_CHECKING:
    from torch import Tensor

INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni")

LARGE = (2048, 4096)
"""(inputs, outputs) of a product as in large models. Larger ones have the same rates, so they are
not timed."""

_PROBE_TOKENS = 512
_PROBE_ROUNDS = 5
# Part of the cache's key; raise it when the measurement or the kernel changes.
_VERSION = "3"
# torch's rate leaves out rounding the activations to INT8 and scaling the sums, which the kernel's
# includes; and the kernel's scales for parts of a row are more accurate.
_TORCH_INT8_SHARE = 0.85

_Pass = Callable[[], object]


class Rates(Struct, frozen=True):
    """Operations a second of a product, forward and backward; None if it is not supported.

    int8: torch's integer product alone. kernel: the project's INT8 kernel, rounding included.
    """

    fp32: float
    bf16: float | None = None
    int8: float | None = None
    kernel: float | None = None

    @property
    def full_precision(self) -> float:
        """The rate without INT8: BF16 if the processor supports it, else FP32."""
        return self.bf16 or self.fp32

    @property
    def best_int8(self) -> float:
        """The rate of INT8, rounding and scaling included; 0 if there is no fast way."""
        by_torch = _TORCH_INT8_SHARE * (self.int8 or 0.0)
        return max(by_torch, self.kernel or 0.0)

    @property
    def has_fast_kernel(self) -> bool:
        """Whether the project's kernel multiplies INT8 at least as fast as torch."""
        return self.kernel is not None and self.kernel >= self.best_int8


def measured_rates(size: tuple[int, int], report: Reporter = ignore, *, threads: int = 1) -> Rates:
    """The rates of a product of (inputs, outputs), measured once for each version of torch.

    With one thread, so that runs with other numbers of threads or processes decide the same.
    """
    inputs, outputs = (min(one, most) for one, most in zip(size, LARGE, strict=True))
    units = (*sorted(processor_flags()), versions().get("torch", ""))
    facts = (_VERSION, *units, str(threads), f"{inputs} x {outputs}")
    path = cache_folder() / "rates" / f"{content_id(*facts)}.json"
    if (known := _stored(path, report)) is not None:
        return known
    # Two processes of a run that both measured could decide for two precisions.
    with wait_for_folder_lock(path.parent, "measuring this machine", report):
        if (known := _stored(path, ignore)) is not None:
            return known
        rates = measured_now((inputs, outputs), report, threads=threads)
        with atomic_file(path) as file:
            file.write(msgspec.json.encode(rates))
    return rates


def _stored(path: Path, report: Reporter) -> Rates | None:
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Rates)
    except msgspec.DecodeError:
        report(Note(f"cannot read `{path}`, so the machine is measured again"))
        return None


def measured_now(
    size: tuple[int, int] = LARGE, report: Reporter = ignore, *, threads: int = 1
) -> Rates:
    """The rates at this moment, without the cache."""
    import torch

    inputs, outputs = size
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(_PROBE_TOKENS, inputs, generator=generator)
    gradient = torch.randn(_PROBE_TOKENS, outputs, generator=generator)
    weight = torch.randn(outputs, inputs, generator=generator)
    with torch.inference_mode(), using_threads(threads):
        seconds = _best_s(_passes(states, gradient, weight, report))
    work = 4.0 * _PROBE_TOKENS * inputs * outputs
    return Rates(**{name: work / taken for name, taken in seconds.items()})


def _passes(
    states: "Tensor", gradient: "Tensor", weight: "Tensor", report: Reporter
) -> dict[str, tuple[_Pass, _Pass]]:
    """Forward and backward of one product, in each arithmetic that this processor supports."""
    import torch
    from torch.nn import functional

    from journeyman.kernels.integer_product import find_integer_product
    from journeyman.train.engine.fast.int8_weights import quantise

    def full_precision(x: "Tensor", dy: "Tensor", w: "Tensor") -> tuple[_Pass, _Pass]:
        return (lambda: functional.linear(x, w)), (lambda: dy @ w)

    passes = {"fp32": full_precision(states, gradient, weight)}
    activations, gradients = states, gradient
    if processor_has(BF16_FLAGS):
        activations, gradients = states.bfloat16(), gradient.bfloat16()
        passes["bf16"] = full_precision(activations, gradients, weight.bfloat16())
    int8 = quantise([weight])
    if processor_has(INT8_FLAGS):
        x8, dy8 = (x.mul(30).clamp(-127, 127).to(torch.int8) for x in (states, gradient))
        passes["int8"] = (
            lambda: torch._int_mm(x8, int8.values.t()),
            lambda: torch._int_mm(dy8, int8.values),
        )
    if (kernel := find_integer_product(report)) is not None:
        passes["kernel"] = (
            lambda: kernel.forward(activations, int8.values, int8.scale),
            lambda: kernel.backward(gradients, int8.values, int8.scale),
        )
    return passes


def _best_s(passes: Mapping[str, tuple[_Pass, _Pass]]) -> dict[str, float]:
    """The best seconds of forward and backward; all take turns, so a moment's noise drops out."""
    seconds = {name: [float("inf")] * 2 for name in passes}
    for _ in range(_PROBE_ROUNDS):
        for name, both in passes.items():
            for at, run_pass in enumerate(both):
                start = time.perf_counter()
                run_pass()
                seconds[name][at] = min(seconds[name][at], time.perf_counter() - start)
    return {name: sum(both) for name, both in seconds.items()}
