"""Causal attention of float32 or bfloat16 heads over a prefix tree of tokens, on x86-64.

torch's own operator reaches a third of a processor's speed on rows of a few hundred tokens, and
does not support trees (docs/performance.md). Equal inputs give equal outputs for any number of
threads. NaN and infinity give NaN. With bfloat16 heads, sums and softmax are still float32 and each
output is rounded once; with AVX512-BF16 the attention weights are also rounded before they are
multiplied, so that processors with and without it differ by rounding.

Covered: x86-64 with AVX2 and FMA, or AVX-512, and a C++ compiler. Not covered: dtypes and head
sizes that `takes` refuses, and dropout of attention weights.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from journeyman.errors import MachineError
from journeyman.events import Reporter, ignore
from journeyman.kernels.loading import find_kernel

if TYPE_CHECKING:
    import torch

_NAME = "attention"
Span = tuple[int, int, int]


class _Heads(ctypes.Structure):
    """`JourneymanHeads` of source/tree.h."""

    _fields_ = (
        ("query", ctypes.c_void_p),
        ("key", ctypes.c_void_p),
        ("value", ctypes.c_void_p),
        ("query_step", ctypes.c_int64),
        ("key_step", ctypes.c_int64),
        ("value_step", ctypes.c_int64),
        ("spans", ctypes.c_void_p),
        ("span_count", ctypes.c_int64),
        ("tokens", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("element_bytes", ctypes.c_int64),
        ("scale", ctypes.c_float),
    )


@dataclass(frozen=True)
class AttentionKernel:
    """The kernel, loaded. It uses as many threads as `torch.get_num_threads()` says.

    query: (T, heads, D). key, value: (T, groups, D); all float32 or all bfloat16, like outputs and
    gradients; heads is a multiple of groups.
    spans: the nodes (start, end, reach) of the tree, parents before children. A node's tokens are
    [start, end), those of its descendants [end, reach); together they cover all T tokens.
    """

    library: ctypes.CDLL
    width: int

    def takes(self, heads: "torch.Tensor") -> bool:
        """Whether (T, heads, D) of this dtype and head size is supported."""
        import torch

        covered = heads.dtype is torch.float32 or heads.dtype is torch.bfloat16
        return covered and heads.shape[2] % self.width == 0

    def forward(
        self,
        query: "torch.Tensor",
        key: "torch.Tensor",
        value: "torch.Tensor",
        spans: Sequence[Span],
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Softmax attention scaled by 1/sqrt(D): the output (T, heads, D).

        And the logarithms of the softmax sums, (heads, T) float32, for `backward`.
        """
        import torch

        output = torch.empty(query.shape, dtype=query.dtype)
        log_sum = torch.empty(query.shape[1], len(query))
        self._run(self.library.journeyman_attend, (query, key, value), spans, (), (output, log_sum))
        return output, log_sum

    def backward(  # noqa: PLR0917 (the order of torch's own operator)
        self,
        gradient: "torch.Tensor",
        query: "torch.Tensor",
        key: "torch.Tensor",
        value: "torch.Tensor",
        output: "torch.Tensor",
        log_sum: "torch.Tensor",
        spans: Sequence[Span],
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Gradients by query, key and value. gradient: by the output of `forward`."""
        import torch

        for name, states in (("gradient", gradient), ("output", output)):
            if states.shape != query.shape or states.dtype is not query.dtype:
                raise ValueError(f"the {name} must have the queries' shape and dtype")
        if log_sum.shape != (query.shape[1], len(query)) or log_sum.dtype is not torch.float32:
            raise ValueError("the logarithms of sums must be those of `forward`")
        by_query, by_key, by_value = (
            torch.empty(x.shape, dtype=x.dtype) for x in (query, key, value)
        )
        gradients = (by_query, by_key, by_value)
        inputs = (gradient, output, log_sum)
        function = self.library.journeyman_attend_backward
        self._run(function, (query, key, value), spans, inputs, gradients)
        return gradients

    def _run(
        self,
        function: Callable[..., int],
        heads: "tuple[torch.Tensor, torch.Tensor, torch.Tensor]",
        spans: Sequence[Span],
        inputs: "Sequence[torch.Tensor]",
        outputs: "Sequence[torch.Tensor]",
    ) -> None:
        import torch

        query, key, value = (_with_contiguous_tokens(x) for x in heads)
        self._check(query, key, value, spans)
        if not len(query):
            return
        tree = torch.tensor(spans, dtype=torch.int64)
        # The name keeps copies alive until the kernel has read them.
        inputs = [x.contiguous() for x in inputs]
        arguments = _Heads(
            query.data_ptr(), key.data_ptr(), value.data_ptr(), query.stride(0), key.stride(0),
            value.stride(0), tree.data_ptr(), len(spans), *query.shape[:2], *key.shape[1:],
            query.element_size(), 1 / math.sqrt(query.shape[2]),
        )  # fmt: skip
        pointers = [x.data_ptr() for x in (*inputs, *outputs)]
        if function(ctypes.byref(arguments), *pointers, torch.get_num_threads()):
            raise MachineError(
                f"out of memory for the attention of {len(query)} tokens",
                hint="use a smaller micro-batch",
            )

    def _check(
        self,
        query: "torch.Tensor",
        key: "torch.Tensor",
        value: "torch.Tensor",
        spans: Sequence[Span],
    ) -> None:
        """Raise ValueError for arrays that the kernel would read or write out of bounds."""
        heads_of_all = (query, key, value)
        if not all(self.takes(x) and x.device.type == "cpu" for x in heads_of_all):
            raise ValueError(
                "heads must be float32 or bfloat16 on the cpu, "
                f"and their size a multiple of {self.width}"
            )
        if any(x.dtype is not query.dtype for x in heads_of_all):
            raise ValueError("queries, keys and values must have the same dtype")
        (tokens, heads, size), groups = query.shape, key.shape[1]
        if key.shape != (tokens, groups, size) or value.shape != key.shape or heads % groups:
            raise ValueError(
                f"{tuple(query.shape)} queries do not match {tuple(key.shape)} keys and "
                f"{tuple(value.shape)} values"
            )
        at, open_reaches = 0, [tokens]
        for start, end, reach in spans:
            while open_reaches[-1] <= start < tokens:
                open_reaches.pop()
            if start != at or not start < end <= reach <= open_reaches[-1]:
                raise ValueError(f"spans are not a tree of {tokens} tokens: {list(spans)}")
            open_reaches.append(reach)
            at = end
        if at != tokens:
            raise ValueError(f"spans cover {at} of {tokens} tokens")


def find_attention_kernel(report: Reporter = ignore) -> AttentionKernel | None:
    """The kernel, built on first use; None, with the reason as a Note, if it cannot be used."""
    return find_kernel(
        _NAME, load, is_correct, what="the attention kernel", needed=("avx2", "fma"), report=report
    )


def load(library: ctypes.CDLL) -> AttentionKernel:
    """The kernel in a library built from `source/attention.cpp`."""
    pointer = ctypes.c_void_p
    for name, tensors in (("journeyman_attend", 2), ("journeyman_attend_backward", 6)):
        function = getattr(library, name)
        function.argtypes = [ctypes.POINTER(_Heads), *[pointer] * tensors, ctypes.c_int]
        function.restype = ctypes.c_int
    return AttentionKernel(library, library.journeyman_width())


def is_correct(kernel: AttentionKernel) -> bool:
    """Whether a small tree gives the result of a mask over all tokens, forward and backward."""
    import torch

    # bfloat16 rounds by at most 2^-8 of a value; a missing row would be 2^-4 of these norms.
    return _agrees(kernel, torch.float32, 1e-5) and _agrees(kernel, torch.bfloat16, 2**-7)


def _agrees(kernel: AttentionKernel, dtype: "torch.dtype", tolerance: float) -> bool:
    """Whether the norms of the errors of the output and each gradient are within a tolerance."""
    import torch

    spans = ((0, 101, 150), (101, 120, 150), (120, 150, 150), (150, 157, 157))
    tokens, heads, groups = 157, 2, 1
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for start, end, reach in spans:
        seen[start:reach, start:end] = True
    generator = torch.Generator().manual_seed(0)
    query, key, value, gradient = (
        torch.randn(tokens, many, kernel.width, generator=generator).to(dtype)
        for many in (heads, groups, groups, heads)
    )
    with torch.enable_grad():
        leaves = [x.double().requires_grad_() for x in (query, key, value)]
        scores = torch.einsum("qhd,kgd->hqk", *leaves[:2]) / math.sqrt(kernel.width)
        shares = scores.masked_fill(~seen.tril(), -math.inf).softmax(-1)
        expected = torch.einsum("hqk,kgd->qhd", shares, leaves[2])
        by_leaves = torch.autograd.grad(expected, leaves, gradient.double())
    output, log_sum = kernel.forward(query, key, value, spans)
    found = kernel.backward(gradient, query, key, value, output, log_sum, spans)
    pairs = zip((output, *found), (expected, *by_leaves), strict=True)
    # Written so that NaN fails.
    return all((one - other).norm() <= tolerance * other.norm() for one, other in pairs)


def _with_contiguous_tokens(states: "torch.Tensor") -> "torch.Tensor":
    """The states (T, heads, D), copied unless each token's heads are contiguous."""
    _, heads, size = states.shape
    return states if states.stride()[1:] == (size, 1) or not heads else states.contiguous()
