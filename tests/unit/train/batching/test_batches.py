"""The order of the rows, the micro-batches and the learning rate of each step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.train.batching.batches import accumulation_for, by_length, epoch_ends, plan_steps
from journeyman.train.batching.seeds import derived_seed
from journeyman.train.engine.learning_rate import learning_rate, warmup_steps

LENGTHS = [(7 * n) % 23 + 1 for n in range(21)]


def _plan(**changes: object) -> tuple:  # type: ignore[type-arg]
    given_values = {
        "batch_size": 2,
        "accumulation": 4,
        "epochs": 2.0,
        "max_steps": None,
        "seed": 42,
    }
    return plan_steps(LENGTHS, **(given_values | changes))  # type: ignore[arg-type]


def test_every_row_is_in_every_epoch_once() -> None:
    steps = _plan()
    for epoch in (0, 1):
        rows = [index for step in steps if step.epoch == epoch for index in step.rows]
        assert sorted(rows) == list(range(21))


def test_last_partial_step_of_an_epoch_is_kept() -> None:
    # 21 rows by 8 are 2 whole steps and one of 5 rows.
    assert [len(step.rows) for step in _plan()] == [8, 8, 5, 8, 8, 5]


def test_rows_share_a_step_by_chance_and_not_by_length() -> None:
    means = [sum(LENGTHS[i] for i in step.rows) / len(step.rows) for step in _plan()]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_micro_batches_have_rows_of_similar_length() -> None:
    for step in _plan():
        lengths = [LENGTHS[index] for index in step.rows]
        assert lengths == sorted(lengths, reverse=True)


def test_order_follows_from_the_seed_and_the_epoch() -> None:
    assert _plan() == _plan()
    assert _plan(seed=43) != _plan()
    steps = _plan()
    assert steps[0].rows != steps[3].rows


def test_half_an_epoch_is_the_first_half_of_its_steps() -> None:
    assert _plan(epochs=1.5) == _plan()[: round(1.5 * 3)]
    assert len(_plan(epochs=0.01)) == 1


def test_max_steps_ends_the_plan() -> None:
    assert _plan(max_steps=4) == _plan()[:4]
    assert _plan(max_steps=99) == _plan()


def test_epochs_end_after_their_last_step() -> None:
    assert epoch_ends(_plan()) == {3, 6}
    assert epoch_ends(_plan(max_steps=4)) == {3, 4}


@pytest.mark.parametrize(
    ("batch_size", "accumulation"), [(1, 16), (2, 8), (4, 4), (3, 5), (5, 3), (16, 1), (64, 1)]
)
def test_accumulation_comes_nearest_to_16_rows(batch_size: int, accumulation: int) -> None:
    assert accumulation_for(batch_size) == accumulation


@given(st.lists(st.integers(1, 2048), max_size=40), st.integers(1, 5))
def test_by_length_keeps_every_row(lengths: list[int], batch_size: int) -> None:
    batches = by_length(range(len(lengths)), lengths, batch_size=batch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_rate_rises_to_the_peak_and_falls_to_zero() -> None:
    # 20 steps, 2 of warm-up: 1/3 and 2/3 of the peak, then 18/18 down to 1/18.
    rates = [learning_rate(step, 20, peak=1.0, warmup_share=0.1) for step in range(1, 21)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[2:] == pytest.approx([(18 - n) / 18 for n in range(18)])
    assert learning_rate(21, 20, peak=1.0, warmup_share=0.1) == 0


def test_warmup_is_one_step_at_least_in_a_longer_run() -> None:
    assert warmup_steps(11, 0.01) == 1
    assert warmup_steps(10, 0.01) == 0
    assert warmup_steps(56, 0.1) == 6
    assert warmup_steps(20, 0.0) == 0


@given(st.integers(1, 400), st.floats(0, 0.99))
def test_no_step_has_a_rate_of_zero_or_above_the_peak(total: int, share: float) -> None:
    rates = [learning_rate(step, total, peak=2e-4, warmup_share=share) for step in range(1, total)]
    assert all(0 < rate <= 2e-4 * (1 + 1e-9) for rate in rates)


def test_seeds_differ_by_purpose_step_and_place() -> None:
    seeds = {
        derived_seed(42, name, step, micro)
        for name in ("dropout", "order")
        for step in range(20)
        for micro in range(20)
    }
    assert len(seeds) == 2 * 20 * 20
    # A number and its text give different seeds.
    assert derived_seed(1) != derived_seed("1")
