"""Matrix products of activations with frozen INT8 weights, with AVX2 or AVX-512 VNNI.

A weight is int8 (N, K) with a float32 scale for each of its N rows (output channels). Activations
are float32 or bfloat16 and are quantised inside, with a scale for each row and block of the
reduction: to int16 with AVX2, whose error is far below that of the weights; to int8 with VNNI,
where blocks limit the effect of an outlier to a part of its row (docs/experiments.md). int32 sums
never overflow. Equal inputs give equal outputs for any number of threads. A row with NaN or
infinity gives NaN.

Covered: x86-64 with AVX2 and FMA, and a C++ compiler. Not covered: gradients (the caller computes
them), AMX, and VNNI without AVX-512, for which `torch._int_mm` is faster.
"""

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from journeyman.errors import MachineError
from journeyman.events import Reporter, ignore
from journeyman.kernels.loading import find_kernel

if TYPE_CHECKING:
    import torch

_NAME = "integer_product"


class _Product(ctypes.Structure):
    """`JourneymanProduct` of source/product.h."""

    _fields_ = (
        ("activations", ctypes.c_void_p),
        ("activation_scale", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("column_scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("reduction", ctypes.c_int64),
        ("reduce_rows", ctypes.c_int32),
        ("accumulate", ctypes.c_int32),
        ("narrow_in", ctypes.c_int32),
        ("narrow_out", ctypes.c_int32),
    )


@dataclass(frozen=True)
class IntegerProduct:
    """The kernel, loaded. Both products use as many threads as `torch.get_num_threads()` says.

    largest: the largest integer of an activation. block: how many values of a row share a scale.
    """

    library: ctypes.CDLL
    largest: int
    block: int

    def forward(
        self,
        x: "torch.Tensor",
        weight: "torch.Tensor",
        scale: "torch.Tensor",
        out: "torch.Tensor | None" = None,
        *,
        bias: "torch.Tensor | None" = None,
        input_scale: "torch.Tensor | None" = None,
        accumulate: bool = False,
    ) -> "torch.Tensor":
        """x (weight * scale)^T + bias: (T, N) of x's dtype, written to `out` if it is given.

        x: (T, K) float32 or bfloat16. weight: (N, K) int8, contiguous. scale, bias: (N,) float32.
        input_scale: (K,) float32, folded into x before it is quantised.
        out: float32 or bfloat16, contiguous; with `accumulate` the product is added to it before
        the only rounding.
        """
        out = _out(out, x, weight.shape[0], accumulate)
        _check(x, weight, scale, bias, input_scale, reduction=weight.shape[-1])
        vectors = (input_scale, scale, bias)
        self._run(x, weight, out, vectors, reduce_rows=False, accumulate=accumulate)
        return out

    def backward(
        self,
        dy: "torch.Tensor",
        weight: "torch.Tensor",
        scale: "torch.Tensor",
        out: "torch.Tensor | None" = None,
        *,
        input_scale: "torch.Tensor | None" = None,
        accumulate: bool = False,
    ) -> "torch.Tensor":
        """dy (weight * scale) * input_scale: (T, K) of dy's dtype, with the same weight in memory.

        dy: (T, N) float32 or bfloat16; the scales are folded into it before it is quantised.
        out, input_scale: as in `forward`.
        """
        out = _out(out, dy, weight.shape[-1], accumulate)
        _check(dy, weight, scale, None, input_scale, reduction=weight.shape[0])
        vectors = (scale, input_scale, None)
        self._run(dy, weight, out, vectors, reduce_rows=True, accumulate=accumulate)
        return out

    def _run(
        self,
        rows: "torch.Tensor",
        weight: "torch.Tensor",
        out: "torch.Tensor",
        vectors: "tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]",
        *,
        reduce_rows: bool,
        accumulate: bool,
    ) -> None:
        """vectors: the scales of the reduction and of the columns, and the bias."""
        import torch

        narrow = torch.bfloat16
        if 0 in (*rows.shape, *weight.shape):
            if not accumulate:
                out.zero_()
            if vectors[2] is not None:
                out.add_(vectors[2])
            return
        # The names keep copies alive until the kernel has read them.
        rows = rows.contiguous()
        contiguous = [None if one is None else one.contiguous() for one in vectors]
        activation_scale, column_scale, bias = (
            None if one is None else one.data_ptr() for one in contiguous
        )
        product = _Product(
            rows.data_ptr(), activation_scale, weight.data_ptr(), column_scale, bias,
            out.data_ptr(), *out.shape, rows.shape[1], int(reduce_rows), int(accumulate),
            int(rows.dtype is narrow), int(out.dtype is narrow),
        )  # fmt: skip
        if self.library.journeyman_multiply(ctypes.byref(product), torch.get_num_threads()):
            raise MachineError(
                f"out of memory for {rows.shape[0]} rows by {tuple(weight.shape)} weights",
                hint="use a smaller micro-batch",
            )


def find_integer_product(report: Reporter = ignore) -> IntegerProduct | None:
    """The kernel, built on first use; None, with the reason as a Note, if it cannot be used."""
    return find_kernel(
        _NAME, load, is_correct, what="the INT8 kernel", needed=("avx2", "fma"), report=report
    )


def load(library: ctypes.CDLL) -> IntegerProduct:
    """The kernel in a library built from `source/integer_product.cpp`."""
    library.journeyman_multiply.argtypes = [ctypes.POINTER(_Product), ctypes.c_int]
    library.journeyman_multiply.restype = ctypes.c_int
    return IntegerProduct(library, library.journeyman_largest(), library.journeyman_block())


def is_correct(kernel: IntegerProduct) -> bool:
    """Whether two small products are exact, as they must be for integers below 2^24."""
    import torch

    rows, inputs, outputs = 7, 530, 78
    weight = (torch.arange(outputs * inputs) * 37 % 255 - 127).to(torch.int8).view(outputs, inputs)
    scale = torch.ones(outputs)
    x = (torch.arange(rows * inputs) * 11 % 201 - 100).float().view(rows, inputs)
    dy = (torch.arange(rows * outputs) * 13 % 201 - 100).float().view(rows, outputs)
    # Every block of the reduction contains the largest integer, so that its scale is 1.
    x[:, ::16] = dy[:, ::16] = float(min(kernel.largest, 255))
    if kernel.largest > 255:
        x[:, ::256] = dy[:, ::64] = float(kernel.largest)
    wide = weight.float()
    same_forward = torch.equal(kernel.forward(x, weight, scale), x @ wide.T)
    same_backward = torch.equal(kernel.backward(dy, weight, scale), dy @ wide)
    bias, there = torch.arange(outputs).float(), torch.ones(rows, outputs, dtype=torch.bfloat16)
    found = kernel.forward(x.bfloat16(), weight, scale, there.clone(), bias=bias, accumulate=True)
    expected = kernel.forward(x.bfloat16().float(), weight, scale) + bias + 1
    return same_forward and same_backward and torch.equal(found, expected.bfloat16())


def _out(
    given: "torch.Tensor | None", rows: "torch.Tensor", columns: int, accumulate: bool
) -> "torch.Tensor":
    import torch

    shape = (rows.shape[0], columns)
    if given is not None:
        _require("out", given, (torch.float32, torch.bfloat16), shape)
        if not given.is_contiguous():
            raise ValueError(f"`out` must be contiguous, not of strides {given.stride()}")
        return given
    if accumulate:
        raise ValueError("`accumulate` needs an `out` to add to")
    return torch.empty(shape, dtype=rows.dtype)


def _check(
    rows: "torch.Tensor",
    weight: "torch.Tensor",
    scale: "torch.Tensor",
    bias: "torch.Tensor | None",
    input_scale: "torch.Tensor | None",
    *,
    reduction: int,
) -> None:
    import torch

    wide = (torch.float32,)
    _require("activations", rows, (*wide, torch.bfloat16), (rows.shape[0], reduction))
    _require("weight", weight, (torch.int8,), (weight.shape[0], weight.shape[-1]))
    _require("scale", scale, wide, (weight.shape[0],))
    if bias is not None:
        _require("bias", bias, wide, (weight.shape[0],))
    if input_scale is not None:
        _require("input_scale", input_scale, wide, (weight.shape[-1],))
    # Copying it for every product would take as long as the kernel saves.
    if not weight.is_contiguous():
        raise ValueError(f"`weight` must be contiguous, not of strides {weight.stride()}")


def _require(
    what: str, tensor: "torch.Tensor", dtypes: "tuple[torch.dtype, ...]", shape: tuple[int, ...]
) -> None:
    if tensor.dtype not in dtypes or tuple(tensor.shape) != shape or tensor.device.type != "cpu":
        named = " or ".join(str(dtype) for dtype in dtypes)
        raise ValueError(
            f"`{what}` must be {named} {shape} on the cpu, "
            f"not {tensor.dtype} {tuple(tensor.shape)} on `{tensor.device}`"
        )
