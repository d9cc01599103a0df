"""Draws by counting: their share, and that nothing of one mask is found in another."""

import math

import pytest
import torch
from torch import Tensor

from journeyman.kernels.dropout_mask import PART_VALUES, keep_mask, keys_of, threshold_of
from journeyman.train.engine.fast.elementwise import dropped, dropped_onto

CPU = torch.device("cpu")
# Standard deviations: by chance alone one in 15,000 such comparisons would fail.
LIMIT = 4.0
SEEDS = (0, 1, 2, 42, 2**32, 2**63 - 1)


def _mask(seed: int, share: float = 0.5, *, part: int = 0) -> Tensor:
    return keep_mask(PART_VALUES, seed=seed, part=part, share=share, device=CPU)


def _deviations(first: Tensor, second: Tensor) -> float:
    """How far two masks of share 1/2 are from agreeing in half of their places."""
    count = first.numel()
    return abs(int((first == second).sum()) - count / 2) / math.sqrt(count / 4)


def _by_hand(place: int, seed: int, part: int) -> int:
    """A draw in Python's own whole numbers."""

    def mixed(x: int) -> int:
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32
        x = (x ^ x >> 15) * 0x846CA68B % 2**32
        return x ^ x >> 16

    first, second = keys_of(seed, part)
    return mixed(mixed(place ^ first) ^ second)


def test_draws_are_those_of_the_definition() -> None:
    for seed, part, share in ((0, 0, 0.5), (2**63 - 1, 3, 0.1), (5, 2**40, 0.9)):
        mask = keep_mask(1000, seed=seed, part=part, share=share, device=CPU)
        drawn = [_by_hand(place, seed, part) >= threshold_of(share) for place in range(1000)]
        assert mask.tolist() == drawn


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.95])
def test_the_share_is_kept(share: float) -> None:
    for seed in SEEDS:
        dropped_values = PART_VALUES - int(_mask(seed, share).sum())
        deviation = math.sqrt(PART_VALUES * share * (1 - share))
        assert abs(dropped_values - PART_VALUES * share) <= LIMIT * deviation


@pytest.mark.parametrize("distance", [1, 2, 3, 8, 16, 64, 576, 1024, 4096, 65536])
def test_neighbours_rows_and_columns_do_not_agree(distance: int) -> None:
    for seed in SEEDS:
        mask = _mask(seed)
        assert _deviations(mask[distance:], mask[:-distance]) < LIMIT


def test_rows_and_columns_each_keep_the_share() -> None:
    for width in (576, 1024):
        rows = PART_VALUES // width
        mask = _mask(9)[: rows * width].view(rows, width).double()
        for counts, size in ((mask.sum(1), width), (mask.sum(0), rows)):
            z = (counts - size / 2) / math.sqrt(size / 4)
            # The variance of as many independent counts is 1 within its own deviation.
            assert abs(float(z.square().mean()) - 1) < LIMIT * math.sqrt(2 / len(z))


def test_seeds_and_parts_do_not_resemble_each_other() -> None:
    masks = [_mask(seed) for seed in SEEDS] + [_mask(0, part=part) for part in (1, 2, 2**12)]
    for number, one in enumerate(masks):
        for other in masks[:number]:
            assert _deviations(one, other) < LIMIT
            # Nor turned around by blocks, as one hash over changed keys would be.
            for size in (2**10, 2**16):
                assert _deviations(one, other.view(-1, size).flip(1).reshape(-1)) < LIMIT


def test_a_mask_goes_on_where_a_part_ends() -> None:
    states = torch.ones(3, PART_VALUES // 2 + 3)
    found = dropped(states, 4, 0.25).flatten() != 0
    for part, values in enumerate(torch.split(found, PART_VALUES)):
        expected = keep_mask(len(values), seed=4, part=part, share=0.25, device=CPU)
        assert torch.equal(values, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_goes_where_the_states_went(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    states, onto = (torch.randn(7, 33, generator=generator).to(dtype) for _ in range(2))
    found = dropped(states, 3, 0.4)
    assert found.dtype is dtype
    grown = (states.float() / 0.6).where(found != 0, 0)
    torch.testing.assert_close(found, grown.to(dtype))
    added = dropped_onto(onto.clone(), states, 3, 0.4)
    torch.testing.assert_close(added, (onto + grown).to(dtype))
    assert torch.equal(added[found == 0], onto[found == 0])
