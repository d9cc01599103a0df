"""The chunked loss through the output layer, against torch's own cross-entropy and autograd."""

import pytest
import torch
from torch.nn import functional

from journeyman.kernels.elementwise import ElementwiseKernel, find_elementwise_kernel
from journeyman.train.engine.loss import PlainHead, completion_loss
from tests.kernels import no_kernel

N, H, V = 7, 12, 31


@pytest.fixture(params=["torch", "kernel"])
def kernel(request: pytest.FixtureRequest) -> ElementwiseKernel | None:
    if request.param == "torch":
        return None
    found = find_elementwise_kernel()
    if found is None:
        pytest.skip(no_kernel())
    return found


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(N, H, generator=generator) * 4
    weight = torch.randn(V, H, generator=generator)
    bias = torch.randn(V, generator=generator)
    targets = torch.randint(V, (N,), generator=generator)
    return hidden, targets, weight, bias


@pytest.mark.parametrize("chunk_rows", [1, 2, 7, 100])
def test_loss_and_gradient_are_those_of_autograd(
    kernel: ElementwiseKernel | None, chunk_rows: int
) -> None:
    hidden, targets, weight, bias = _inputs()
    leaf = hidden.clone().requires_grad_()
    expected = functional.cross_entropy(
        functional.linear(leaf, weight, bias), targets, reduction="sum"
    )
    torch.autograd.backward(expected)
    loss, gradient = completion_loss(
        hidden,
        targets,
        PlainHead(weight, bias),
        with_gradient=True,
        chunk_bytes=4 * V * chunk_rows,
        kernel=kernel,
    )
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert leaf.grad is not None
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-4, atol=1e-5)


def test_large_logits_do_not_overflow(kernel: ElementwiseKernel | None) -> None:
    hidden, targets, weight, _ = _inputs()
    loss, gradient = completion_loss(
        hidden * 1e4, targets, PlainHead(weight), with_gradient=True, kernel=kernel
    )
    assert torch.isfinite(gradient).all()
    assert 0 <= loss < float("inf")


def test_nan_stays_nan(kernel: ElementwiseKernel | None) -> None:
    hidden, targets, weight, _ = _inputs()
    hidden[2, 3] = float("nan")
    loss, _ = completion_loss(
        hidden, targets, PlainHead(weight), with_gradient=False, kernel=kernel
    )
    assert loss != loss


def test_inputs_are_not_changed(kernel: ElementwiseKernel | None) -> None:
    hidden, targets, weight, bias = _inputs()
    completion_loss(hidden, targets, PlainHead(weight, bias), with_gradient=True, kernel=kernel)
    for now, before in zip((hidden, targets, weight, bias), _inputs(), strict=True):
        assert torch.equal(now, before)


def test_in_bf16_only_logits_and_gradient_are_rounded(
    kernel: ElementwiseKernel | None,
) -> None:
    hidden, targets, weight, _ = (x.bfloat16() if x.is_floating_point() else x for x in _inputs())
    leaf = functional.linear(hidden, weight).float().requires_grad_()
    expected = functional.cross_entropy(leaf, targets, reduction="sum")
    torch.autograd.backward(expected)
    assert leaf.grad is not None
    loss, gradient = completion_loss(
        hidden, targets, PlainHead(weight), with_gradient=True, kernel=kernel
    )
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert gradient.dtype is torch.bfloat16
    torch.testing.assert_close(gradient, leaf.grad.bfloat16() @ weight, rtol=1e-2, atol=1e-3)


class _Counted(PlainHead):
    """A head that remembers how many rows each chunk had."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self.rows: list[int] = []

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(states))
        return super().forward(states)


def test_a_chunk_is_measured_by_its_logits_in_memory(kernel: ElementwiseKernel | None) -> None:
    hidden, targets, weight, _ = _inputs()
    for dtype, rows in ((torch.float32, 3), (torch.bfloat16, 3 if kernel is None else 6)):
        head = _Counted(weight.to(dtype))
        completion_loss(
            hidden.to(dtype),
            targets,
            head,
            with_gradient=False,
            chunk_bytes=4 * V * 3,
            kernel=kernel,
        )
        assert head.rows[0] == rows
