"""The attention kernel's AVX-512 form, emulated: with it go products of bfloat16 pairs."""

import math

import pytest
import torch

from journeyman.kernels import attention
from journeyman.kernels.attention import AttentionKernel, Span
from tests.attended_trees import (
    EDGES,
    ODD,
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


@pytest.fixture(scope="module")
def attends() -> AttentionKernel:
    """The attention kernel."""
    kernel = attention._loaded(emulated("attention"))
    assert kernel.width == 32
    return kernel


def test_attention_passes_its_own_trial(attends: AttentionKernel) -> None:
    assert attention.is_right(attends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spans", [ROW, TREE, SHORT, EDGES, ODD])
@pytest.mark.parametrize(("heads", "groups", "size"), [(3, 1, 64), (2, 2, 32)])
def test_attention_is_masked_attention(
    attends: AttentionKernel,
    spans: tuple[Span, ...],
    heads: int,
    groups: int,
    size: int,
    dtype: torch.dtype,
) -> None:
    assert_close_to_exact(attends, drawn(spans[-1][2], heads, groups, size, dtype), spans)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_takes_parts_of_wider_rows(attends: AttentionKernel, dtype: torch.dtype) -> None:
    assert_views_give_equal_bits(attends, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_any_number_of_threads_gives_equal_bits(
    attends: AttentionKernel, dtype: torch.dtype
) -> None:
    assert_threads_give_equal_bits(attends, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_attention_hides_no_damage(
    attends: AttentionKernel, bad: float, dtype: torch.dtype
) -> None:
    assert_damage_shows_where_it_is_seen(attends, bad, dtype)
