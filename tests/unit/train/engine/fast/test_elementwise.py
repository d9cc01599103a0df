"""Gates of the MLP, some rows at a time, against the whole at once and against autograd."""

import pytest
import torch

from journeyman.train.engine.fast.elementwise import Elementwise, gated, gated_backward


@pytest.mark.parametrize("rows", [0, 1, 128, 300])
def test_gates_in_blocks_have_equal_bits(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    gate_up = torch.randn(rows, 24, generator=generator)
    gradient = torch.randn(rows, 12, generator=generator)
    plain = Elementwise()
    assert torch.equal(plain.gated(gate_up), gated(gate_up))
    found = plain.gated_backward(gradient, gate_up)
    assert torch.equal(found, gated_backward(gradient, gate_up))


def test_the_gradient_of_the_gates_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    gate_up = torch.randn(300, 24, generator=generator, requires_grad=True)
    gradient = torch.randn(300, 12, generator=generator)
    torch.autograd.backward(gated(gate_up), gradient)
    with torch.no_grad():
        found = Elementwise().gated_backward(gradient, gate_up)
    torch.testing.assert_close(found, gate_up.grad)
