"""The small matrix products of LoRA adapters, with dropout applied on the fly.

A general product with a matrix of 8 columns reaches a fraction of a processor's speed, and dropout
before it would store arrays that are read once. Each function here reads the wide array once.
Narrow arrays and sums are float32 for every dtype of the wide array. Equal inputs give equal
outputs for any number of threads.

Covered: x86-64 with AVX2 and FMA, or AVX-512, and a C++ compiler; wide arrays whose number of
columns is a multiple of `width`.
"""

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journeyman.errors import MachineError
from journeyman.events import Reporter, ignore
from journeyman.kernels.dropout_mask import all_keys, keep_mask, threshold_of
from journeyman.kernels.loading import find_kernel

if TYPE_CHECKING:
    import torch

_NAME = "adapters"
Dropout = tuple[float, int]
"""The share of values that is dropped, and the seed of the mask."""


class _Wide(ctypes.Structure):
    """`JourneymanWide` of source/adapters.cpp."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("narrow", ctypes.c_int64),
        ("tokens", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("step", ctypes.c_int64),
        ("keys", ctypes.c_void_p),
        ("threshold", ctypes.c_uint32),
        ("scale", ctypes.c_float),
    )


@dataclass(frozen=True)
class AdapterKernel:
    """The kernel, loaded. It uses as many threads as `torch.get_num_threads()` says."""

    library: ctypes.CDLL
    width: int

    def takes(self, wide: "torch.Tensor") -> bool:
        """Whether an array (T, K) of this dtype, width and device is supported."""
        import torch

        return (
            wide.dtype in (torch.float32, torch.bfloat16)
            and wide.device.type == "cpu"
            and wide.shape[1] % self.width == 0
        )

    def reduce(
        self, x: "torch.Tensor", firsts: "torch.Tensor", drawn: Dropout | None
    ) -> "torch.Tensor":
        """drop(x) firsts^T: (T, R) float32. x: (T, K). firsts: (R, K) float32."""
        import torch

        x, firsts = x.contiguous(), firsts.contiguous()
        _require_shape("firsts", firsts, (len(firsts), x.shape[1]))
        reduced = torch.empty(len(x), len(firsts))
        self._run("journeyman_reduce", self._wide(x, drawn), firsts, len(firsts), reduced)
        return reduced

    def by_second(
        self,
        gradient: "torch.Tensor",
        second: "torch.Tensor",
        reduced: "torch.Tensor",
        scaling: float,
        *,
        by_reduced: "torch.Tensor",
        onto: "torch.Tensor",
    ) -> None:
        """For one adapter: fill `by_reduced`, and add the gradient by `second` to `onto`.

        gradient: (T, N), with any distance between rows. second, onto: (N, r) float32. reduced,
        by_reduced: (T, r) float32, both columns of arrays of the same width.
        """
        second, tokens = second.contiguous(), len(gradient)
        columns, rank = second.shape
        _require_shape("onto", onto, (columns, rank))
        for name, narrow in (("reduced", reduced), ("by_reduced", by_reduced)):
            if narrow.shape != (tokens, rank) or narrow.stride() != (reduced.stride(0), 1):
                raise ValueError(f"`{name}` is {tuple(narrow.shape)} of {narrow.stride()}")
        wide = self._wide(gradient, None)
        _require_shape("gradient", gradient, (tokens, columns), contiguous=False)
        self._run(
            "journeyman_by_second", wide, second, reduced, rank, reduced.stride(0), scaling,
            by_reduced, onto,
        )  # fmt: skip

    def by_first(
        self,
        x: "torch.Tensor",
        firsts: "torch.Tensor",
        by_reduced: "torch.Tensor",
        drawn: Dropout | None,
        by_x: "torch.Tensor | None",
    ) -> "torch.Tensor":
        """The gradient by firsts, (R, K) float32; adds the gradient by x to `by_x` if it is given.

        x, by_x: (T, K) of one dtype. firsts: (R, K), by_reduced: (T, R), both float32.
        """
        import torch

        x, firsts, by_reduced = x.contiguous(), firsts.contiguous(), by_reduced.contiguous()
        _require_shape("firsts", firsts, (len(firsts), x.shape[1]))
        _require_shape("by_reduced", by_reduced, (len(x), len(firsts)))
        if by_x is not None and (by_x.dtype is not x.dtype or not by_x.is_contiguous()):
            raise ValueError(f"`by_x` must be contiguous {x.dtype}, not {by_x.dtype}")
        if by_x is not None and by_x.shape != x.shape:
            raise ValueError(f"`by_x` must be {tuple(x.shape)}, not {tuple(by_x.shape)}")
        by_firsts = torch.empty(firsts.shape)
        wide = self._wide(x, drawn)
        self._run("journeyman_by_first", wide, firsts, by_reduced, len(firsts), by_firsts, by_x)
        return by_firsts

    def _wide(self, values: "torch.Tensor", drawn: Dropout | None) -> "tuple[_Wide, Any]":
        """The wide array for the kernel, and the objects that must outlive the call."""
        import torch

        if not self.takes(values) or values.stride(1) != 1:
            raise ValueError(f"unsupported wide array: {values.dtype} {tuple(values.shape)}")
        share, seed = drawn or (0.0, 0)
        keys = all_keys(values.numel(), seed) if drawn else []
        held = (ctypes.c_uint32 * len(keys))(*keys)
        wide = _Wide(
            values.data_ptr(), int(values.dtype is torch.bfloat16), *values.shape,
            values.stride(0), ctypes.cast(held, ctypes.c_void_p) if drawn else None,
            threshold_of(share), 1 / (1 - share),
        )  # fmt: skip
        return wide, (held, values)

    def _run(self, name: str, wide: "tuple[_Wide, Any]", *given: Any) -> None:
        import torch

        if not wide[0].tokens:
            raise ValueError("an adapter needs at least one token")
        pointers = [x.data_ptr() if isinstance(x, torch.Tensor) else x for x in given]
        if getattr(self.library, name)(ctypes.byref(wide[0]), *pointers, torch.get_num_threads()):
            raise MachineError(
                f"out of memory for the adapters of {wide[0].tokens} tokens",
                hint="use a smaller micro-batch",
            )


def find_adapter_kernel(report: Reporter = ignore) -> AdapterKernel | None:
    """The kernel, built on first use; None, with the reason as a Note, if it cannot be used."""
    return find_kernel(
        _NAME,
        load,
        is_correct,
        what="the kernel for adapters",
        needed=("avx2", "fma"),
        report=report,
    )


def load(library: ctypes.CDLL) -> AdapterKernel:
    """The kernel in a library built from `source/adapters.cpp`."""
    pointer, size, wide = ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(_Wide)
    number = ctypes.c_int
    arguments = {
        "journeyman_reduce": (wide, pointer, size, pointer, number),
        "journeyman_by_second": (
            wide, pointer, pointer, size, size, ctypes.c_float, pointer, pointer, number,
        ),
        "journeyman_by_first": (wide, pointer, pointer, size, pointer, pointer, number),
    }  # fmt: skip
    for name, types in arguments.items():
        function = getattr(library, name)
        function.argtypes, function.restype = list(types), number
    return AdapterKernel(library, library.journeyman_width())


def is_correct(kernel: AdapterKernel) -> bool:
    """Whether a small adapter's products equal torch's, with dropout and in both dtypes."""
    import torch

    return all(_is_correct(kernel, dtype) for dtype in (torch.float32, torch.bfloat16))


def _is_correct(kernel: AdapterKernel, dtype: "torch.dtype") -> bool:
    import torch

    tokens, columns, rank, share, seed = 101, 17 * kernel.width, 5, 0.25, 3
    cpu = torch.device("cpu")
    chance = torch.Generator(device=cpu).manual_seed(0)

    def drawn(*shape: int) -> "torch.Tensor":
        return torch.randn(shape, generator=chance, device=cpu)

    x, gradient = drawn(tokens, columns).to(dtype), drawn(tokens, columns).to(dtype)
    firsts, second, there = drawn(rank, columns), drawn(columns, rank), drawn(tokens, columns)
    mask = keep_mask(tokens * columns, seed=seed, part=0, share=share, device=cpu).view(x.shape)
    given = torch.where(mask, x.double() / (1 - share), 0)
    reduced = kernel.reduce(x, firsts, (share, seed))
    by_reduced, by_second = torch.empty_like(reduced), torch.ones(columns, rank)
    kernel.by_second(gradient, second, reduced, 2.0, by_reduced=by_reduced, onto=by_second)
    by_x = there.to(dtype, copy=True)
    by_firsts = kernel.by_first(x, firsts, by_reduced, (share, seed), by_x)
    through = torch.where(mask, by_reduced.double() @ firsts.double() / (1 - share), 0)
    pairs = (
        (reduced, given @ firsts.double().T),
        (by_reduced, 2 * gradient.double() @ second.double()),
        (by_second, 1 + 2 * gradient.double().T @ reduced.double()),
        (by_firsts, by_reduced.double().T @ given),
    )
    rounded = 2**-8 if dtype is torch.bfloat16 else 1e-6
    close = all(float((a.double() - b).norm() / b.norm()) < 1e-5 for a, b in pairs)
    expected = there.to(dtype).double() + through
    return close and float((by_x.double() - expected).norm() / expected.norm()) < rounded


def _require_shape(
    name: str, tensor: "torch.Tensor", shape: tuple[int, ...], *, contiguous: bool = True
) -> None:
    import torch

    if tuple(tensor.shape) != shape or (contiguous and not tensor.is_contiguous()):
        raise ValueError(f"`{name}` must be contiguous {shape}, not {tuple(tensor.shape)}")
    if contiguous and tensor.dtype is not torch.float32:
        raise ValueError(f"`{name}` must be float32, not {tensor.dtype}")
