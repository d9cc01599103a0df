"""Products of float32 activations with frozen int8 weights, for processors with AVX2 and no VNNI.

A weight is int8 (N, K) with a float32 scale for each of its N rows (output channels). Activations
are quantised inside, to int16 with a scale for each row: the weights' own rounding is nearly all
the error there is (docs/experiments.md). int32 sums cannot overflow, whatever the values. Equal
inputs give equal outputs for any number of threads. A row with NaN or infinity comes out as NaN.

Covered: x86-64 with AVX2 and a C++ compiler. Not covered: gradients (the caller's), and processors
with VNNI or AMX, where `torch._int_mm` is faster.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from journeyman.errors import MachineError
from journeyman.events import Reporter, ignore
from journeyman.kernels.finding import found_kernel

if TYPE_CHECKING:
    import torch

_NAME = "integer_product"


@dataclass(frozen=True)
class IntegerProduct:
    """The kernel, loaded. Both products use as many threads as `torch.get_num_threads()` says."""

    library: ctypes.CDLL

    def forward(
        self,
        x: "torch.Tensor",
        weight: "torch.Tensor",
        scale: "torch.Tensor",
        out: "torch.Tensor | None" = None,
        *,
        accumulate: bool = False,
    ) -> "torch.Tensor":
        """x (weight * scale)^T: (T, N) float32, written into `out` where one is given.

        x: (T, K) float32. weight: (N, K) int8, contiguous. scale: (N,) float32. out: contiguous,
        and with `accumulate` the product is added to it.
        """
        out = _out(out, x.shape[0], weight.shape[0], accumulate)
        _check(x, weight, scale, reduction=weight.shape[-1])
        self._run(self.library.journeyman_forward, x, weight, scale, out, accumulate=accumulate)
        return out

    def backward(
        self,
        dy: "torch.Tensor",
        weight: "torch.Tensor",
        scale: "torch.Tensor",
        out: "torch.Tensor | None" = None,
        *,
        accumulate: bool = False,
    ) -> "torch.Tensor":
        """dy (weight * scale): (T, K) float32, from the same bytes of the weight as `forward`.

        dy: (T, N) float32; the scales are folded into it before it is quantised.
        """
        out = _out(out, dy.shape[0], weight.shape[-1], accumulate)
        _check(dy, weight, scale, reduction=weight.shape[0])
        self._run(self.library.journeyman_backward, dy, weight, scale, out, accumulate=accumulate)
        return out

    def _run(
        self,
        function: Callable[..., int],
        rows: "torch.Tensor",
        weight: "torch.Tensor",
        scale: "torch.Tensor",
        out: "torch.Tensor",
        *,
        accumulate: bool,
    ) -> None:
        import torch

        if 0 in (*rows.shape, *weight.shape):
            if not accumulate:
                out.zero_()
            return
        rows, scale = rows.contiguous(), scale.contiguous()
        failed = function(
            rows.data_ptr(), weight.data_ptr(), scale.data_ptr(), out.data_ptr(), rows.shape[0],
            *weight.shape, int(accumulate), torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MachineError(
                f"no memory for a product of {rows.shape[0]} rows by {tuple(weight.shape)} weights",
                hint="use a smaller micro-batch",
            )


def find_kernel(report: Reporter = ignore) -> IntegerProduct | None:
    """The kernel, built on first use; None, with the reason as a Note, where it cannot be had."""
    return found_kernel(
        _NAME, _loaded, is_right, what="the int8 kernel", needed=("avx2",), report=report
    )


def _loaded(library: ctypes.CDLL) -> IntegerProduct:
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    for name in ("journeyman_forward", "journeyman_backward"):
        function = getattr(library, name)
        function.argtypes = [pointer] * 4 + [size] * 3 + [number] * 2
        function.restype = number
    return IntegerProduct(library)


def is_right(kernel: IntegerProduct) -> bool:
    """Whether two small products come out exactly, as integers below 2^24 with a step of 1 must."""
    import torch

    rows, inputs, outputs = 5, 530, 18
    weight = (torch.arange(outputs * inputs) * 37 % 255 - 127).to(torch.int8).view(outputs, inputs)
    scale = torch.ones(outputs)
    x = (torch.arange(rows * inputs) * 11 % 201 - 100).float().view(rows, inputs)
    dy = (torch.arange(rows * outputs) * 13 % 201 - 100).float().view(rows, outputs)
    x[:, 0] = dy[:, 0] = 32767.0
    same_forward = torch.equal(kernel.forward(x, weight, scale), x @ weight.float().T)
    return same_forward and torch.equal(kernel.backward(dy, weight, scale), dy @ weight.float())


def _out(given: "torch.Tensor | None", rows: int, columns: int, accumulate: bool) -> "torch.Tensor":
    import torch

    if given is not None:
        _require("out", given, torch.float32, (rows, columns))
        if not given.is_contiguous():
            raise ValueError(f"`out` must be contiguous, not of strides {given.stride()}")
        return given
    if accumulate:
        raise ValueError("`accumulate` needs an `out` to add to")
    return torch.empty(rows, columns)


def _check(
    rows: "torch.Tensor", weight: "torch.Tensor", scale: "torch.Tensor", *, reduction: int
) -> None:
    import torch

    _require("activations", rows, torch.float32, (rows.shape[0], reduction))
    _require("weight", weight, torch.int8, (weight.shape[0], weight.shape[-1]))
    _require("scale", scale, torch.float32, (weight.shape[0],))
    # Copying it for every product would cost what the kernel saves.
    if not weight.is_contiguous():
        raise ValueError(f"`weight` must be contiguous, not of strides {weight.stride()}")


def _require(
    what: str, tensor: "torch.Tensor", dtype: "torch.dtype", shape: tuple[int, ...]
) -> None:
    if tensor.dtype is not dtype or tuple(tensor.shape) != shape or tensor.device.type != "cpu":
        raise ValueError(
            f"`{what}` must be {dtype} {shape} on the cpu, "
            f"not {tensor.dtype} {tuple(tensor.shape)} on `{tensor.device}`"
        )
