"""Trees of tokens, heads drawn for them, and what holds of attention over them in every form."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from journeyman.kernels.attention import AttentionKernel, Span

ROW = ((0, 301, 301),)
TREE = (
    (0, 97, 260),
    (97, 145, 200),
    (145, 200, 200),
    (200, 206, 260),
    (206, 260, 260),
    (260, 261, 261),
)
SHORT = tuple((at, at + 5, at + 5) for at in range(0, 60, 5))
EDGES = ((0, 48, 48), (48, 144, 144), (144, 240, 433), (240, 241, 433), (241, 433, 433))
# From their root a node's tokens begin and end at odd places, between those of others.
ODD = ((0, 5, 5), (5, 36, 300), (36, 156, 156), (156, 300, 300))
ONE = ((0, 1, 1),)

# What rounding to the nearest bfloat16 or float32 changes at most, as a part of the value. The
# second is many of them: sums of some hundred float32, and an exponential.
_ROUNDED = {torch.bfloat16: 2.0**-8, torch.float32: 0.0}
_SUMMED = 2e-5


def drawn(
    tokens: int, heads: int, groups: int, size: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, ...]:
    """Query, key, value and the gradient by the output."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(tokens, many, size, generator=generator).to(dtype)
        for many in (heads, groups, groups, heads)
    )


def all_of(
    kernel: AttentionKernel, heads: tuple[Tensor, ...], spans: tuple[Span, ...]
) -> tuple[Tensor, ...]:
    """Output and gradients by query, key and value. heads: as they are drawn."""
    query, key, value, gradient = heads
    output, log_sum = kernel.forward(query, key, value, spans)
    return output, *kernel.backward(gradient, query, key, value, output, log_sum, spans)


@dataclass(frozen=True)
class Exact:
    """The same in float64 under one mask, and what each element's size allows as error."""

    values: tuple[Tensor, ...]
    allowed: tuple[Tensor, ...]


def exact(heads: tuple[Tensor, ...], spans: tuple[Span, ...]) -> Exact:
    """Of heads as they are drawn.

    The errors of bfloat16, with u for one rounding: the output is rounded (u |output|), and so may
    be the shares that make it (u shares |value|). The rounded output then enters the gradient by
    the scores, as does the output's own error, weighed by the gradient; that by the scores and the
    shares may be rounded again before the last products, and the gradients are.
    """
    query, key, value, gradient = (x.double() for x in heads)
    tokens, many, size = query.shape
    each, scale, rounding = many // key.shape[1], 1 / math.sqrt(size), _ROUNDED[heads[0].dtype]
    wide_key, wide_value = (x.repeat_interleave(each, dim=1) for x in (key, value))
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for start, end, reach in spans:
        seen[start:reach, start:end] = True
    scores = torch.einsum("qhd,khd->hqk", query, wide_key) * scale
    shares = scores.masked_fill(~seen.tril(), -math.inf).softmax(-1)
    output = torch.einsum("hqk,khd->qhd", shares, wide_value)
    by_share = torch.einsum("qhd,khd->hqk", gradient, wide_value)
    by_score = shares * (by_share - torch.einsum("qhd,qhd->hq", gradient, output)[:, :, None])

    def of_queries(weights: Tensor, states: Tensor) -> Tensor:
        return torch.einsum("hqk,khd->qhd", weights, states)

    def of_keys(weights: Tensor, states: Tensor) -> Tensor:
        found = torch.einsum("hqk,qhd->khd", weights, states)
        return found.reshape(tokens, -1, each, size).sum(2)

    values = (
        output,
        of_queries(by_score, wide_key) * scale,
        of_keys(by_score, query) * scale,
        of_keys(shares, gradient),
    )
    gathered = of_queries(shares, wide_value.abs())
    off_output = rounding * (output.abs() + gathered)
    off_score = shares * torch.einsum("qhd,qhd->hq", gradient.abs(), off_output)[:, :, None]
    off_score += rounding * by_score.abs()
    offs = (
        rounding * gathered,
        of_queries(off_score, wide_key.abs()) * scale,
        of_keys(off_score, query.abs()) * scale,
        of_keys(rounding * shares, gradient.abs()),
    )
    return Exact(
        values,
        tuple(
            off * (1 + rounding) + (rounding + _SUMMED) * found.abs() + _SUMMED / 4
            for off, found in zip(offs, values, strict=True)
        ),
    )


def assert_close_to_exact(
    kernel: AttentionKernel, heads: tuple[Tensor, ...], spans: tuple[Span, ...]
) -> None:
    """Output and gradients are where rounding allows them to be."""
    right = exact(heads, spans)
    found = all_of(kernel, heads, spans)
    names = ("output", "by query", "by key", "by value")
    for name, one, other, allowed in zip(names, found, right.values, right.allowed, strict=True):
        assert one.dtype is heads[0].dtype
        share = ((one.double() - other).abs() / allowed).amax()
        assert share <= 1, f"{name} is {share:.3} times as far off as it may be"


def assert_views_give_equal_bits(kernel: AttentionKernel, dtype: torch.dtype) -> None:
    """Heads may be parts of wider rows, of an odd width, too."""
    joint = torch.randn(301, 4 * 32 + 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    query, key, value, _ = torch.split(joint, [64, 32, 32, 3], dim=1)
    query, key, value = (x.view(301, -1, 32) for x in (query, key, value))
    assert not query.is_contiguous()
    gradient = query.clone()
    apart = all_of(kernel, (query, key, value, gradient), ROW)
    together = all_of(kernel, (query.clone(), key.clone(), value.clone(), gradient), ROW)
    for one, other in zip(apart, together, strict=True):
        assert torch.equal(one, other)


def assert_threads_give_equal_bits(kernel: AttentionKernel, dtype: torch.dtype) -> None:
    """One thread and three."""
    heads = drawn(TREE[-1][2], 6, 2, 64, dtype)
    query, key, value, _ = heads

    def once(threads: int) -> tuple[Tensor, ...]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return (kernel.forward(query, key, value, TREE)[1], *all_of(kernel, heads, TREE))
        finally:
            torch.set_num_threads(before)

    for one, other in zip(once(1), once(3), strict=True):
        assert torch.equal(one, other)


def assert_damage_shows_where_it_is_seen(
    kernel: AttentionKernel, bad: float, dtype: torch.dtype
) -> None:
    """Of a key in the output, and of the output's gradient in the gradients."""
    query, key, value, gradient = drawn(TREE[-1][2], 2, 1, 32, dtype)
    clean, _ = kernel.forward(query, key, value, TREE)
    damaged = key.clone()
    damaged[150] = bad  # of the third node, which ends at 200; above it are the first two
    found, _ = kernel.forward(query, damaged, value, TREE)
    assert not found[150:200].isfinite().any()
    assert torch.equal(found[:150], clean[:150])
    assert torch.equal(found[200:], clean[200:])
    gradient[150] = bad
    _, by_query, by_key, by_value = all_of(kernel, (query, key, value, gradient), TREE)
    for by in (by_query[150], by_key[:151], by_value[:151]):
        assert not by.isfinite().any()
    for by in (by_query[260:], by_key[260:], by_value[260:]):
        assert by.isfinite().all()
