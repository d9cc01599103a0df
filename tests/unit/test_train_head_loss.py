"""The chunked loss through the output layer, against torch's own cross-entropy and autograd."""

import pytest
import torch
from torch.nn import functional

from journeyman.train.head_loss import PlainHead, completion_loss

N, H, V = 7, 12, 31


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(N, H, generator=generator) * 4
    weight = torch.randn(V, H, generator=generator)
    bias = torch.randn(V, generator=generator)
    targets = torch.randint(V, (N,), generator=generator)
    return hidden, targets, weight, bias


@pytest.mark.parametrize("chunk_rows", [1, 2, 7, 100])
def test_loss_and_gradient_are_those_of_autograd(chunk_rows: int) -> None:
    hidden, targets, weight, bias = _inputs()
    leaf = hidden.clone().requires_grad_()
    expected = functional.cross_entropy(
        functional.linear(leaf, weight, bias), targets, reduction="sum"
    )
    torch.autograd.backward(expected)
    loss, gradient = completion_loss(
        hidden, targets, PlainHead(weight, bias), with_gradient=True, chunk_bytes=4 * V * chunk_rows
    )
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert leaf.grad is not None
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-4, atol=1e-5)


def test_large_logits_do_not_overflow() -> None:
    hidden, targets, weight, _ = _inputs()
    loss, gradient = completion_loss(hidden * 1e4, targets, PlainHead(weight), with_gradient=True)
    assert torch.isfinite(gradient).all()
    assert 0 <= loss < float("inf")


def test_not_a_number_stays_one() -> None:
    hidden, targets, weight, _ = _inputs()
    hidden[2, 3] = float("nan")
    loss, _ = completion_loss(hidden, targets, PlainHead(weight), with_gradient=False)
    assert loss != loss


def test_inputs_are_not_changed() -> None:
    hidden, targets, weight, bias = _inputs()
    completion_loss(hidden, targets, PlainHead(weight, bias), with_gradient=True)
    for now, before in zip((hidden, targets, weight, bias), _inputs(), strict=True):
        assert torch.equal(now, before)
