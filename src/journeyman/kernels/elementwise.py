"""Row-wise and elementwise operations between the matrix products.

Cross-entropy of logits, dropout, and rotary positions. torch reads a chunk of logits six times, and
stores a mask for dropout; the kernel reads it once and stores no mask. Equal inputs give equal
outputs for any number of threads.

Covered: float32 and bfloat16 on x86-64 with AVX2 and FMA, or AVX-512, and a C++ compiler.
"""

import ctypes
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from journeyman.events import Reporter, ignore
from journeyman.kernels.dropout_mask import all_keys, keep_mask, threshold_of
from journeyman.kernels.loading import find_kernel

if TYPE_CHECKING:
    import torch

_NAME = "elementwise"


@dataclass(frozen=True)
class ElementwiseKernel:
    """The kernel, loaded. It uses as many threads as `torch.get_num_threads()` says."""

    library: ctypes.CDLL
    lanes: int

    def takes(self, *tensors: "torch.Tensor") -> bool:
        """Whether these arrays are supported: of one dtype, on the processor."""
        import torch

        dtype = tensors[0].dtype
        return dtype in (torch.float32, torch.bfloat16) and all(
            x.dtype is dtype and x.device.type == "cpu" for x in tensors
        )

    def cross_entropy(
        self, logits: "torch.Tensor", targets: "torch.Tensor", *, with_gradient: bool
    ) -> float:
        """The summed loss in nats; the gradient, if wanted, overwrites the logits.

        logits: (N, V), contiguous. targets: (N,) int64 below V.
        """
        import torch

        rows, classes = logits.shape
        self._require(logits)
        if targets.shape != (rows,) or targets.dtype is not torch.int64:
            raise ValueError(f"{rows} rows need as many int64 targets, not {tuple(targets.shape)}")
        if not rows:
            return 0.0
        lowest, highest = (int(x) for x in torch.aminmax(targets))
        if lowest < 0 or highest >= classes:
            raise ValueError(f"targets are {lowest} to {highest}, but there are {classes} classes")
        targets = targets.contiguous()
        losses = torch.empty(rows, dtype=torch.float64, device="cpu")
        self.library.journeyman_cross_entropy(
            logits.data_ptr(), _is_narrow(logits), rows, classes, targets.data_ptr(),
            int(with_gradient), losses.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return math.fsum(losses.tolist())

    def dropped(self, states: "torch.Tensor", seed: int, share: float) -> "torch.Tensor":
        """Dropout: a share of the states set to zero, the others multiplied by 1 / (1 - share)."""
        import torch

        states = states.contiguous()
        output = torch.empty_like(states)
        self._drop(states, output, seed, share, adds=False)
        return output

    def dropped_onto(
        self, onto: "torch.Tensor", gradient: "torch.Tensor", seed: int, share: float
    ) -> "torch.Tensor":
        """Add the gradient of `dropped` to a contiguous `onto`, in place and rounded once."""
        if onto.shape != gradient.shape:
            raise ValueError(f"{tuple(gradient.shape)} cannot be added to {tuple(onto.shape)}")
        self._drop(gradient.contiguous(), onto, seed, share, adds=True)
        return onto

    def rotates(self, states: "torch.Tensor") -> bool:
        """Whether (T, heads, D) is supported: each token's heads must be contiguous."""
        size = states.shape[2]
        beside = states.stride()[1:] == (size, 1)
        return self.takes(states) and beside and size % (2 * self.lanes) == 0

    def rotate(
        self, states: "torch.Tensor", cosine: "torch.Tensor", sine: "torch.Tensor", *, back: bool
    ) -> None:
        """Apply rotary positions in place, or undo them. cosine, sine: (T, D) float32."""
        import torch

        tokens, heads, size = states.shape
        if not self.rotates(states):
            raise ValueError(f"unsupported heads: {states.dtype} {tuple(states.shape)}")
        for angles in (cosine, sine):
            if angles.shape != (tokens, size) or angles.dtype is not torch.float32:
                raise ValueError(f"{tuple(angles.shape)} angles for {tuple(states.shape)} heads")
        cosine, sine = cosine.contiguous(), sine.contiguous()
        self.library.journeyman_rotate(
            states.data_ptr(), _is_narrow(states), tokens, states.stride(0), heads, size,
            cosine.data_ptr(), sine.data_ptr(), -1.0 if back else 1.0, torch.get_num_threads(),
        )  # fmt: skip

    def _drop(
        self,
        given: "torch.Tensor",
        found: "torch.Tensor",
        seed: int,
        share: float,
        *,
        adds: bool,
    ) -> None:
        import torch

        self._require(given, found)
        count = given.numel()
        keys = all_keys(count, seed)
        self.library.journeyman_drop(
            given.data_ptr(), found.data_ptr(), _is_narrow(given), count,
            (ctypes.c_uint32 * len(keys))(*keys), threshold_of(share), 1 / (1 - share), int(adds),
            torch.get_num_threads(),
        )  # fmt: skip

    def _require(self, *tensors: "torch.Tensor") -> None:
        """Raise ValueError for arrays that the kernel would read or write out of bounds."""
        if not self.takes(*tensors) or not all(x.is_contiguous() for x in tensors):
            actual = ", ".join(f"{x.dtype} {x.stride()} on `{x.device}`" for x in tensors)
            raise ValueError(f"must be contiguous float32 or bfloat16 on the cpu, not {actual}")


def find_elementwise_kernel(report: Reporter = ignore) -> ElementwiseKernel | None:
    """The kernel, built on first use; None, with the reason as a Note, if it cannot be used."""
    return find_kernel(
        _NAME,
        load,
        is_correct,
        what="the kernel for losses and dropout",
        needed=("avx2", "fma"),
        report=report,
    )


def load(library: ctypes.CDLL) -> ElementwiseKernel:
    """The kernel in a library built from `source/elementwise.cpp`."""
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    library.journeyman_cross_entropy.argtypes = [
        pointer, number, size, size, pointer, number, pointer, number,
    ]  # fmt: skip
    library.journeyman_drop.argtypes = [
        pointer, pointer, number, size, pointer, ctypes.c_uint32, ctypes.c_float, number, number,
    ]  # fmt: skip
    library.journeyman_rotate.argtypes = [
        pointer, number, size, size, size, size, pointer, pointer, ctypes.c_float, number,
    ]  # fmt: skip
    for function in ("journeyman_cross_entropy", "journeyman_drop", "journeyman_rotate"):
        getattr(library, function).restype = None
    return ElementwiseKernel(library, library.journeyman_lanes())


def is_correct(kernel: ElementwiseKernel) -> bool:
    """Whether losses, gradients, a mask and positions equal torch's, in both dtypes."""
    import torch

    both = ((torch.float32, 1e-5), (torch.bfloat16, 4e-3))
    return all(
        _is_correct(kernel, dtype, off) and _rotates(kernel, dtype, off) for dtype, off in both
    )


def _rotates(kernel: ElementwiseKernel, dtype: "torch.dtype", tolerance: float) -> bool:
    import torch

    size = 4 * kernel.lanes
    generator = torch.Generator(device="cpu").manual_seed(0)
    joint = torch.randn(5, 3 * size, generator=generator, device="cpu").to(dtype)
    angles = torch.rand(5, size // 2, generator=generator, device="cpu").repeat(1, 2)
    heads = joint[:, size:].view(5, 2, size)
    left, right = heads.double().chunk(2, dim=-1)
    turned = torch.cat((-right, left), dim=-1) * angles.double().sin().unsqueeze(1)
    expected = heads.double() * angles.double().cos().unsqueeze(1) + turned
    kernel.rotate(heads, angles.cos(), angles.sin(), back=False)
    return torch.allclose(heads.double(), expected, rtol=tolerance, atol=tolerance)


def _is_correct(kernel: ElementwiseKernel, dtype: "torch.dtype", tolerance: float) -> bool:
    import torch

    cpu, seed, share = torch.device("cpu"), 5, 0.25
    generator = torch.Generator(device=cpu).manual_seed(0)
    given = torch.randn(3, 4133, generator=generator, device=cpu).mul_(4).to(dtype)
    mask = keep_mask(given.numel(), seed=seed, part=0, share=share, device=cpu).view(given.shape)
    grown = torch.where(mask, given.float() * (1 / (1 - share)), 0)
    added = kernel.dropped_onto(given.clone(), given, seed, share)
    drops_rightly = torch.equal(kernel.dropped(given, seed, share), grown.to(dtype))
    adds_rightly = torch.equal(added, (given.float() + grown).to(dtype))
    targets = torch.tensor([0, 4132, 17], device=cpu)
    logs = given.double().log_softmax(1)
    loss = -float(logs.gather(1, targets[:, None]).sum())
    gradient = logs.exp().scatter_add_(1, targets[:, None], -torch.ones_like(logs))
    found = kernel.cross_entropy(given, targets, with_gradient=True)
    has_loss = math.isclose(found, loss, rel_tol=1e-5)
    has_gradient = torch.allclose(given.double(), gradient, rtol=tolerance, atol=1e-6)
    return drops_rightly and adds_rightly and has_loss and has_gradient


def _is_narrow(tensor: "torch.Tensor") -> int:
    return int(tensor.element_size() == 2)
