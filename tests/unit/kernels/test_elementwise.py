"""The kernel for losses, dropout and positions against plain torch, in both dtypes."""

import math

import pytest
import torch
from torch import Tensor

from journeyman.kernels.dropout_mask import PART_VALUES
from journeyman.kernels.elementwise import ElementwiseKernel, find_elementwise_kernel, load
from journeyman.train.engine.fast.elementwise import dropped, dropped_onto, rotate, rotate_backward
from tests.emulated import emulated
from tests.kernels import no_kernel

DTYPES = (torch.float32, torch.bfloat16)
# Half a step of each dtype, and what float32 exponentials are off.
NEAR = {torch.float32: 2e-6, torch.bfloat16: 4e-3}


@pytest.fixture(scope="module", params=["of this processor", "emulated AVX-512"])
def kernel(request: pytest.FixtureRequest) -> ElementwiseKernel:
    if request.param == "emulated AVX-512":
        return load(emulated("elementwise"))
    found = find_elementwise_kernel()
    if found is None:
        pytest.skip(no_kernel())
    return found


def _logits(rows: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows * classes)
    logits = torch.randn(rows, classes, generator=generator).mul_(5).to(dtype)
    return logits, torch.randint(classes, (rows,), generator=generator)


def _expected(logits: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    leaf = logits.double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(leaf, targets, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, leaf)
    return float(loss.detach()), gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "classes"),
    [(1, 1), (1, 7), (3, 16), (5, 31), (2, 4096), (4, 4097), (2, 12289), (3, 49152)],
)
def test_losses_and_gradients_are_those_of_autograd(
    kernel: ElementwiseKernel, rows: int, classes: int, dtype: torch.dtype
) -> None:
    logits, targets = _logits(rows, classes, dtype)
    loss, gradient = _expected(logits, targets)
    before = logits.clone()
    alone = kernel.cross_entropy(logits, targets, with_gradient=False)
    assert torch.equal(logits, before)
    assert kernel.cross_entropy(logits, targets, with_gradient=True) == alone
    assert alone == pytest.approx(loss, rel=1e-6, abs=1e-6)
    torch.testing.assert_close(logits.double(), gradient, rtol=NEAR[dtype], atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_do_not_overflow(kernel: ElementwiseKernel, dtype: torch.dtype) -> None:
    logits, targets = _logits(4, 333, dtype)
    logits *= 1e4
    loss, gradient = _expected(logits, targets)
    assert kernel.cross_entropy(logits, targets, with_gradient=True) == pytest.approx(loss)
    torch.testing.assert_close(logits.double(), gradient, rtol=NEAR[dtype], atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 100, 332])
def test_what_is_not_finite_is_no_loss(
    kernel: ElementwiseKernel, dtype: torch.dtype, bad: float, place: int
) -> None:
    logits, targets = _logits(3, 333, dtype)
    clean = logits.clone()
    kernel.cross_entropy(clean, targets, with_gradient=True)
    logits[1, place] = bad
    assert math.isnan(kernel.cross_entropy(logits, targets, with_gradient=True))
    assert logits[1].isnan().all()
    # The rows beside it are not touched.
    assert torch.equal(logits[0], clean[0])
    assert torch.equal(logits[2], clean[2])


def test_a_logit_of_minus_infinity_has_no_share(kernel: ElementwiseKernel) -> None:
    logits, targets = _logits(1, 333, torch.float32)
    logits[0, (int(targets[0]) + 1) % 333] = -math.inf
    loss, gradient = _expected(logits, targets)
    assert kernel.cross_entropy(logits, targets, with_gradient=True) == pytest.approx(loss)
    torch.testing.assert_close(logits.double(), gradient, rtol=2e-6, atol=1e-7)
    logits[:] = -math.inf
    assert math.isnan(kernel.cross_entropy(logits, targets, with_gradient=False))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_equal_bits(
    kernel: ElementwiseKernel, dtype: torch.dtype
) -> None:
    logits, targets = _logits(37, 5001, dtype)

    def once(threads: int) -> tuple[float, list[Tensor]]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            given, onto = logits.clone(), logits.clone()
            loss = kernel.cross_entropy(given, targets, with_gradient=True)
            drops = kernel.dropped(logits, 3, 0.1)
            return loss, [given, drops, kernel.dropped_onto(onto, logits, 3, 0.1)]
        finally:
            torch.set_num_threads(before)

    (one, arrays), (other, others) = once(1), once(2)
    assert one == other
    for left, right in zip(arrays, others, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(0, 5), (1, 1), (3, 13), (129, 129), (2, PART_VALUES + 5)])
def test_dropout_is_that_of_plain_torch_bit_for_bit(
    kernel: ElementwiseKernel, size: tuple[int, int], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    states, gradient, onto = (torch.randn(size, generator=generator).to(dtype) for _ in range(3))
    for seed, share in ((0, 0.1), (2**63 - 1, 0.5), (7, 0.0)):
        assert torch.equal(kernel.dropped(states, seed, share), dropped(states, seed, share))
        found = kernel.dropped_onto(onto.clone(), gradient, seed, share)
        assert torch.equal(found, dropped_onto(onto.clone(), gradient, seed, share))


def test_states_may_lie_apart(kernel: ElementwiseKernel) -> None:
    states = torch.randn(30, 50, generator=torch.Generator().manual_seed(0)).t()
    assert torch.equal(kernel.dropped(states, 1, 0.3), dropped(states, 1, 0.3))
    assert torch.equal(kernel.dropped(states, 1, 0.3), kernel.dropped(states.contiguous(), 1, 0.3))


def test_what_would_be_read_or_written_beyond_its_end_is_refused(kernel: ElementwiseKernel) -> None:
    logits, targets = _logits(3, 33, torch.float32)
    for wrong in (targets + 33, targets - 33, targets[:2], targets.int()):
        with pytest.raises(ValueError, match="targets"):
            kernel.cross_entropy(logits, wrong, with_gradient=True)
    with pytest.raises(ValueError, match="contiguous"):
        kernel.cross_entropy(logits.t(), torch.zeros(33, dtype=torch.int64), with_gradient=True)
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        kernel.cross_entropy(logits.double(), targets, with_gradient=True)
    with pytest.raises(ValueError, match="added"):
        kernel.dropped_onto(logits, logits[:2], 0, 0.5)
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        kernel.dropped_onto(logits, logits.bfloat16(), 0, 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "heads", "registers"), [(1, 1, 2), (17, 3, 4), (40, 9, 8)])
def test_positions_in_place_are_those_of_torch_and_spare_what_lies_beside(
    kernel: ElementwiseKernel, tokens: int, heads: int, registers: int, dtype: torch.dtype
) -> None:
    size, chance = registers * kernel.lanes, torch.Generator().manual_seed(tokens)
    joint = torch.randn(tokens, (heads + 1) * size, generator=chance).to(dtype)
    angles = torch.rand(tokens, size // 2, generator=chance).mul_(6).repeat(1, 2)
    before, ours = joint.clone(), joint[:, :-size].view(tokens, heads, size)
    turns = angles.cos(), angles.sin()
    expected = rotate(before[:, :-size].view(ours.shape).float(), *turns)
    kernel.rotate(ours, *turns, back=False)
    # One rounding to bfloat16 is off by 2^-8 of a value at the most, one to float32 by far less.
    off = 2**-8 if dtype is torch.bfloat16 else 1e-6
    torch.testing.assert_close(ours.float(), expected, rtol=off, atol=1e-6)
    assert torch.equal(joint[:, -size:], before[:, -size:])
    back = rotate_backward(ours.float(), *turns)
    kernel.rotate(ours, *turns, back=True)
    torch.testing.assert_close(ours.float(), back, rtol=off, atol=1e-6)


def test_heads_that_do_not_fit_are_not_rotated(kernel: ElementwiseKernel) -> None:
    size = 2 * kernel.lanes
    assert kernel.rotates(torch.zeros(3, 2, size))
    assert not kernel.rotates(torch.zeros(3, 2, size + 2))
    assert not kernel.rotates(torch.zeros(3, size, 2).transpose(1, 2))
    with pytest.raises(ValueError, match="angles"):
        kernel.rotate(
            torch.zeros(3, 2, size), torch.zeros(2, size), torch.zeros(3, size), back=True
        )
