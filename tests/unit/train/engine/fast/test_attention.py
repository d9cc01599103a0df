"""Attention over packed rows, against masked attention and autograd."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from journeyman.train.engine.fast import attention
from journeyman.train.engine.fast.attention import AttentionOutput, Heads, attend, attend_backward
from journeyman.train.engine.fast.packing import TokenSpan

# A root with two children, the first of which has a child; and a separate row.
SPANS = (
    TokenSpan(0, 5, 16),
    TokenSpan(5, 9, 12),
    TokenSpan(9, 12, 12),
    TokenSpan(12, 16, 16),
    TokenSpan(16, 19, 19),
)
T, HEADS, GROUPS, SIZE = 19, 4, 2, 16


def _heads() -> Heads:
    generator = torch.Generator().manual_seed(0)
    return Heads(*(torch.randn(T, n, SIZE, generator=generator) for n in (HEADS, GROUPS, GROUPS)))


def _masked(heads: Heads) -> Tensor:
    """The same with one mask over all tokens."""
    mask = torch.zeros(T, T, dtype=torch.bool)
    for span in SPANS:
        size = span.end - span.start
        mask[span.start : span.end, span.start : span.end] = torch.ones(size, size).tril().bool()
        mask[span.end : span.reach, span.start : span.end] = True
    query, key, value = (
        x.transpose(0, 1).unsqueeze(0) for x in (heads.query, heads.key, heads.value)
    )
    found = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, enable_gqa=True
    )
    return found[0].transpose(0, 1)


def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute attention as on devices other than the processor."""
    monkeypatch.setattr(
        attention,
        "_flash_forward",
        lambda q, k, v, causal: attention.plain_forward(q, k, v, causal=causal),
    )
    monkeypatch.setattr(
        attention, "_flash_backward", lambda *x: attention.plain_backward(*x[:6], causal=x[6])
    )


@pytest.mark.parametrize("plain", [False, True])
def test_packed_attention_is_masked_attention(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if plain:
        _as_on_a_gpu(monkeypatch)
    heads = _heads()
    torch.testing.assert_close(attend(heads, SPANS).output, _masked(heads), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("plain", [False, True])
def test_gradients_are_those_of_autograd(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if plain:
        _as_on_a_gpu(monkeypatch)
    heads = _heads()
    leaves = Heads(*(x.clone().requires_grad_() for x in (heads.query, heads.key, heads.value)))
    gradient = torch.randn(T, HEADS, SIZE, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(_masked(leaves), gradient)
    found = attend_backward(gradient, heads, attend(heads, SPANS), SPANS)
    for name in ("query", "key", "value"):
        expected = getattr(leaves, name).grad
        torch.testing.assert_close(getattr(found, name), expected, rtol=1e-4, atol=1e-5)


def test_equal_inputs_give_equal_bits() -> None:
    def once() -> tuple[AttentionOutput, Heads]:
        heads = _heads()
        attended = attend(heads, SPANS)
        return attended, attend_backward(attended.output, heads, attended, SPANS)

    (one, by_one), (other, by_other) = once(), once()
    assert torch.equal(one.output, other.output)
    for name in ("query", "key", "value"):
        assert torch.equal(getattr(by_one, name), getattr(by_other, name))
