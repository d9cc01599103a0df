"""The attention kernel against masked attention in float64, on trees of many shapes."""

import math

import pytest
import torch
from torch import Tensor

from journeyman.kernels.attention import AttentionKernel, Span, find_attention

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


@pytest.fixture(scope="module")
def kernel() -> AttentionKernel:
    found = find_attention()
    if found is None:
        pytest.skip("no AVX2 and FMA, or no C++ compiler")
    return found


def _drawn(tokens: int, heads: int, groups: int, size: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(tokens, many, size, generator=generator)
        for many in (heads, groups, groups, heads)
    )


def _masked(query: Tensor, key: Tensor, value: Tensor, spans: tuple[Span, ...]) -> Tensor:
    tokens = len(query)
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for start, end, reach in spans:
        seen[start:reach, start:end] = True
    each = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(each, dim=1) for x in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key) / math.sqrt(query.shape[2])
    shares = scores.masked_fill(~seen.tril(), -math.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", shares, value)


@pytest.mark.parametrize("spans", [ROW, TREE, SHORT, EDGES, ((0, 1, 1),)])
@pytest.mark.parametrize(
    ("heads", "groups", "size"), [(3, 1, 64), (4, 2, 32), (2, 2, 128), (1, 1, 96)]
)
def test_outputs_and_gradients_are_those_of_masked_attention(
    kernel: AttentionKernel, spans: tuple[Span, ...], heads: int, groups: int, size: int
) -> None:
    query, key, value, gradient = _drawn(spans[-1][2], heads, groups, size)
    leaves = [x.double().requires_grad_() for x in (query, key, value)]
    expected = _masked(leaves[0], leaves[1], leaves[2], spans)
    by_leaves = torch.autograd.grad(expected, leaves, gradient.double())
    output, log_sum = kernel.forward(query, key, value, spans)
    found = kernel.backward(gradient, query, key, value, output, log_sum, spans)
    for one, other in zip((output, *found), (expected, *by_leaves), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=5e-6)


def test_the_logarithms_of_the_sums_are_exact_for_large_scores(kernel: AttentionKernel) -> None:
    query, key, value, _ = _drawn(301, 2, 1, 32)
    query *= 30
    _, log_sum = kernel.forward(query, key, value, ROW)
    scores = torch.einsum("qhd,kd->hqk", query.double(), key[:, 0].double()) / math.sqrt(32)
    seen = torch.ones(301, 301, dtype=torch.bool).tril()
    expected = scores.masked_fill(~seen, -math.inf).logsumexp(-1)
    torch.testing.assert_close(log_sum.double(), expected, rtol=1e-5, atol=1e-5)


def test_heads_may_be_parts_of_wider_rows(kernel: AttentionKernel) -> None:
    joint = torch.randn(301, 4 * 32, generator=torch.Generator().manual_seed(0))
    query, key, value = (x.view(301, -1, 32) for x in torch.split(joint, [64, 32, 32], dim=1))
    apart, _ = kernel.forward(query, key, value, ROW)
    together, _ = kernel.forward(query.clone(), key.clone(), value.clone(), ROW)
    assert torch.equal(apart, together)


def test_any_number_of_threads_gives_equal_bits(kernel: AttentionKernel) -> None:
    query, key, value, gradient = _drawn(TREE[-1][2], 6, 2, 64)

    def once(threads: int) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            output, log_sum = kernel.forward(query, key, value, TREE)
            by = kernel.backward(gradient, query, key, value, output, log_sum, TREE)
            return [output, log_sum, *by]
        finally:
            torch.set_num_threads(before)

    for one, other in zip(once(1), once(3), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_damaged_key_shows_where_it_is_seen_and_nowhere_else(
    kernel: AttentionKernel, bad: float
) -> None:
    query, key, value, _ = _drawn(TREE[-1][2], 1, 1, 32)
    clean, _ = kernel.forward(query, key, value, TREE)
    key[150] = bad  # of the third node, which ends at 200
    found, _ = kernel.forward(query, key, value, TREE)
    assert not found[150:200].isfinite().any()
    assert torch.equal(found[:150], clean[:150])
    assert torch.equal(found[200:], clean[200:])


@pytest.mark.parametrize(
    "spans",
    [
        ((0, 300, 300),),  # a token is left out
        ((0, 301, 302),),  # beyond the end
        ((0, 100, 100), (90, 301, 301)),  # twice
        ((0, 100, 200), (100, 301, 301)),  # a child beyond its parent
        (),
    ],
)
def test_spans_that_are_no_tree_are_refused(
    kernel: AttentionKernel, spans: tuple[Span, ...]
) -> None:
    query, key, value, _ = _drawn(301, 1, 1, 32)
    with pytest.raises(ValueError, match="spans"):
        kernel.forward(query, key, value, spans)


def test_heads_that_do_not_go_together_are_refused(kernel: AttentionKernel) -> None:
    query, key, value, _ = _drawn(301, 3, 2, 32)
    with pytest.raises(ValueError, match="do not go"):
        kernel.forward(query, key, value, ROW)
    with pytest.raises(ValueError, match="float32"):
        kernel.forward(query.double(), key, value, ROW)


def test_other_sizes_are_not_taken(kernel: AttentionKernel) -> None:
    assert not kernel.takes(torch.zeros(1, 1, kernel.width + 8))
    assert not kernel.takes(torch.zeros(1, 1, kernel.width, dtype=torch.bfloat16))
