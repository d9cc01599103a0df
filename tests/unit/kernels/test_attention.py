"""The attention kernel against masked attention in float64, on trees of many shapes."""

import math

import pytest
import torch

from journeyman.kernels.attention import (
    AttentionKernel,
    Span,
    find_attention_kernel,
    is_correct,
    load,
)
from journeyman.train.engine.arithmetic import arithmetic_of
from tests.attended_trees import (
    EDGES,
    ODD,
    ONE,
    ROW,
    SHORT,
    TREE,
    assert_close_to_exact,
    assert_damage_shows_where_it_is_seen,
    assert_threads_give_equal_bits,
    assert_views_give_equal_bits,
    drawn,
)
from tests.emulated import emulated
from tests.kernels import no_kernel


@pytest.fixture(scope="module", params=["of this processor", "emulated AVX-512"])
def kernel(request: pytest.FixtureRequest) -> AttentionKernel:
    """With the emulated form go products of bfloat16 pairs."""
    if request.param == "emulated AVX-512":
        emulation = load(emulated("attention"))
        assert emulation.width == 32
        return emulation
    found = find_attention_kernel()
    if found is None:
        pytest.skip(no_kernel())
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spans", [ROW, TREE, SHORT, EDGES, ODD, ONE])
@pytest.mark.parametrize(
    ("heads", "groups", "size"), [(3, 1, 64), (4, 2, 32), (2, 2, 128), (1, 1, 96)]
)
def test_outputs_and_gradients_are_those_of_masked_attention(
    kernel: AttentionKernel,
    spans: tuple[Span, ...],
    heads: int,
    groups: int,
    size: int,
    dtype: torch.dtype,
) -> None:
    assert_close_to_exact(kernel, drawn(spans[-1][2], heads, groups, size, dtype), spans)


def test_the_logarithms_of_the_sums_are_exact_for_large_scores(kernel: AttentionKernel) -> None:
    query, key, value, _ = drawn(301, 2, 1, 32)
    query *= 30
    _, log_sum = kernel.forward(query, key, value, ROW)
    scores = torch.einsum("qhd,kd->hqk", query.double(), key[:, 0].double()) / math.sqrt(32)
    seen = torch.ones(301, 301, dtype=torch.bool).tril()
    expected = scores.masked_fill(~seen, -math.inf).logsumexp(-1)
    torch.testing.assert_close(log_sum.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_may_be_parts_of_wider_rows(kernel: AttentionKernel, dtype: torch.dtype) -> None:
    assert_views_give_equal_bits(kernel, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_number_of_threads_gives_equal_bits(
    kernel: AttentionKernel, dtype: torch.dtype
) -> None:
    assert_threads_give_equal_bits(kernel, dtype)


def test_logarithms_of_sums_of_bfloat16_heads_are_not_rounded(kernel: AttentionKernel) -> None:
    query, key, value, _ = drawn(301, 2, 1, 32, torch.bfloat16)
    _, log_sum = kernel.forward(query, key, value, ROW)
    _, of_wide = kernel.forward(query.float(), key.float(), value.float(), ROW)
    assert log_sum.dtype is torch.float32
    torch.testing.assert_close(log_sum, of_wide, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_damage_shows_where_it_is_seen_and_nowhere_else(
    kernel: AttentionKernel, bad: float, dtype: torch.dtype
) -> None:
    assert_damage_shows_where_it_is_seen(kernel, bad, dtype)


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
    query, key, value, _ = drawn(301, 1, 1, 32)
    with pytest.raises(ValueError, match="spans"):
        kernel.forward(query, key, value, spans)


def test_heads_that_do_not_go_together_are_refused(kernel: AttentionKernel) -> None:
    query, key, value, _ = drawn(301, 3, 2, 32)
    with pytest.raises(ValueError, match="do not match"):
        kernel.forward(query, key, value, ROW)
    with pytest.raises(ValueError, match="float32"):
        kernel.forward(query.double(), key, value, ROW)
    with pytest.raises(ValueError, match="same dtype"):
        kernel.forward(query[:, :2].bfloat16(), key, value, ROW)


def test_a_gradient_of_another_kind_is_refused(kernel: AttentionKernel) -> None:
    query, key, value, gradient = drawn(301, 2, 1, 32, torch.bfloat16)
    output, log_sum = kernel.forward(query, key, value, ROW)
    with pytest.raises(ValueError, match="gradient"):
        kernel.backward(gradient.float(), query, key, value, output, log_sum, ROW)
    with pytest.raises(ValueError, match="output"):
        kernel.backward(gradient, query, key, value, output[:300], log_sum, ROW)
    with pytest.raises(ValueError, match="logarithms"):
        kernel.backward(gradient, query, key, value, output, log_sum.bfloat16(), ROW)


def test_the_kernel_passes_its_own_trial(kernel: AttentionKernel) -> None:
    assert is_correct(kernel)


def test_bfloat16_activations_have_the_kernel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = find_attention_kernel()
    if kernel is None:
        pytest.skip(no_kernel())
    monkeypatch.setattr(
        "journeyman.train.engine.product_rates.processor_flags", lambda: frozenset({"avx512_bf16"})
    )
    found = arithmetic_of("bf16")
    assert found.activations is torch.bfloat16
    assert found.attention == kernel


def test_other_sizes_and_dtypes_are_not_taken(kernel: AttentionKernel) -> None:
    assert not kernel.takes(torch.zeros(1, 1, kernel.width + 8))
    assert not kernel.takes(torch.zeros(1, 1, kernel.width, dtype=torch.float16))
    assert kernel.takes(torch.zeros(1, 1, kernel.width, dtype=torch.bfloat16))
