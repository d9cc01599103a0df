"""The kernel for adapters against plain torch in float64: both dtypes, odd sizes, dropout."""

import math
from collections.abc import Callable

import pytest
import torch

from journeyman.kernels import adapters
from journeyman.kernels.adapters import AdapterKernel, Dropout, find_adapter_kernel
from journeyman.kernels.dropout_mask import PART_VALUES, keep_mask
from tests.emulated import emulated
from tests.kernels import no_kernel

CPU = torch.device("cpu")
# float32 sums of some hundred terms.
TOLERANCE = 2e-6
DRAWN: Dropout = (0.3, 11)


@pytest.fixture(scope="module", params=["of this processor", "emulated AVX-512"])
def kernel(request: pytest.FixtureRequest) -> AdapterKernel:
    if request.param == "emulated AVX-512":
        return adapters.load(emulated("adapters"))
    found = find_adapter_kernel()
    if found is None:
        pytest.skip(no_kernel())
    return found


def masked(x: torch.Tensor, drawn: Dropout | None) -> torch.Tensor:
    """float64 after dropout, by the mask that `chance` gives."""
    if drawn is None:
        return x.double()
    share, seed = drawn
    parts = [
        keep_mask(min(PART_VALUES, x.numel() - at), seed=seed, part=number, share=share, device=CPU)
        for number, at in enumerate(range(0, x.numel(), PART_VALUES))
    ]
    return torch.where(torch.cat(parts).view(x.shape), x.double() / (1 - share), 0)


def off(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found.double() - right).norm() / right.norm())


def randoms(seed: int) -> Callable[..., torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=chance)


SIZES = [(1, 1, 1), (7, 2, 8), (95, 3, 24), (97, 40, 5), (200, 17, 33)]


@pytest.mark.parametrize("drawn", [None, DRAWN])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "registers", "rank"), SIZES)
def test_the_input_is_reduced_and_its_gradients_are_those_of_torch(
    kernel: AdapterKernel,
    tokens: int,
    registers: int,
    rank: int,
    dtype: torch.dtype,
    drawn: Dropout,
) -> None:
    columns, draw = registers * kernel.width, randoms(tokens)
    x, firsts, by_reduced = draw(tokens, columns).to(dtype), draw(rank, columns), draw(tokens, rank)
    there = draw(tokens, columns).to(dtype)
    given = masked(x, drawn)
    assert off(kernel.reduce(x, firsts, drawn), given @ firsts.double().T) < TOLERANCE
    by_x = there.clone()
    found = kernel.by_first(x, firsts, by_reduced, drawn, by_x)
    assert off(found, by_reduced.double().T @ given) < TOLERANCE
    through = masked(by_reduced.double() @ firsts.double(), drawn)
    # bfloat16 between 1 and 2 stand 2^-7 apart, so one rounding is off by 2^-8 at the most.
    allowed = 2**-8 if dtype is torch.bfloat16 else TOLERANCE
    assert off(by_x, there.double() + through) < allowed
    assert torch.equal(kernel.by_first(x, firsts, by_reduced, drawn, None), found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("tokens", "registers", "rank"), SIZES)
def test_columns_of_a_joint_gradient_give_the_second_matrix_its_gradient(
    kernel: AdapterKernel, tokens: int, registers: int, rank: int, dtype: torch.dtype
) -> None:
    columns, draw = registers * kernel.width, randoms(tokens)
    joint = draw(tokens, columns + 64).to(dtype)
    gradient, reduced = joint[:, 32 : 32 + columns], draw(tokens, rank + 3)
    second, by_reduced, onto = (
        draw(columns, rank),
        torch.zeros(tokens, rank + 3),
        draw(columns, rank),
    )
    before, own = onto.clone(), slice(2, 2 + rank)
    kernel.by_second(
        gradient, second, reduced[:, own], 4.0, by_reduced=by_reduced[:, own], onto=onto
    )
    assert off(by_reduced[:, own], 4 * gradient.double() @ second.double()) < TOLERANCE
    by_second = 4 * gradient.double().T @ reduced[:, own].double()
    assert off(onto, before.double() + by_second) < TOLERANCE
    assert not by_reduced[:, :2].any()
    assert not by_reduced[:, 2 + rank :].any()


def test_places_beyond_the_first_part_have_draws_of_their_own(kernel: AdapterKernel) -> None:
    tokens, columns, draw = 2100, 32 * kernel.width, randoms(1)
    x, firsts = draw(tokens, columns), draw(2, columns)
    assert x.numel() > PART_VALUES
    expected = masked(x, DRAWN) @ firsts.double().T
    assert off(kernel.reduce(x, firsts, DRAWN), expected) < TOLERANCE


def test_equal_inputs_give_equal_bits_for_any_number_of_threads(kernel: AdapterKernel) -> None:
    columns, draw = 5 * kernel.width, randoms(2)
    x, firsts, by_reduced = draw(500, columns), draw(8, columns), draw(500, 8)
    second, before, found = draw(columns, 8), torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        out, onto, by_x = torch.zeros(500, 8), torch.zeros(columns, 8), torch.zeros(500, columns)
        kernel.by_second(x, second, by_reduced, 2.0, by_reduced=out, onto=onto)
        by_firsts = kernel.by_first(x, firsts, by_reduced, DRAWN, by_x)
        found.append((kernel.reduce(x, firsts, DRAWN), out, onto, by_firsts, by_x))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for one in found for a, b in zip(one, found[0], strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_comes_out_as_none(kernel: AdapterKernel, value: float) -> None:
    x, firsts = torch.ones(3, kernel.width), torch.ones(2, kernel.width)
    x[1, 4] = value
    reduced = kernel.reduce(x, firsts, None)
    assert not reduced[1].isfinite().any()
    assert reduced[[0, 2]].isfinite().all()


def test_what_does_not_fit_is_refused_before_any_memory_is_touched(kernel: AdapterKernel) -> None:
    x, firsts = torch.ones(3, kernel.width), torch.ones(2, kernel.width)
    with pytest.raises(ValueError, match="wide array"):
        kernel.reduce(torch.ones(3, kernel.width + 1), torch.ones(2, kernel.width + 1), None)
    with pytest.raises(ValueError, match="firsts"):
        kernel.reduce(x, firsts[:, 1:], None)
    with pytest.raises(ValueError, match="by_x"):
        kernel.by_first(x, firsts, torch.ones(3, 2), None, torch.ones(3, kernel.width).bfloat16())
    with pytest.raises(ValueError, match="at least one token"):
        kernel.reduce(x[:0], firsts, None)


def test_a_kernel_that_forgets_dropout_is_found_out(
    kernel: AdapterKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adapters.is_correct(kernel)
    monkeypatch.setattr(adapters, "threshold_of", lambda _: 0)
    assert not adapters.is_correct(kernel)
