"""The progress line, the throughput limit of the machine, and the time left."""

import dataclasses

import pytest
from msgspec.structs import replace

from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import OptimiserStep
from journeyman.train.batching.rows import Rows, TokenRow
from journeyman.train.engine.recipe import Recipe
from journeyman.train.forecast.records import Machine, TimeForecast
from journeyman.train.forecast.run import IntendedRun
from journeyman.train.forecast.shape import ModelShape
from journeyman.train.forecast.stage import with_throughput_limit
from journeyman.train.monitor.progress import RunTimer, progress_detail
from journeyman.train.monitor.status import new_status

STATUS = replace(new_status("training"), steps=57)


def test_the_line_shows_what_is_known() -> None:
    assert progress_detail(STATUS, step=3, tokens_per_s=312.4) == "step 3/57  312 tok/s"
    known = replace(
        STATUS, loss=1.2844, validation_loss=1.302, limit_share=0.41, rss_bytes=31 * 2**30 // 10
    )
    assert progress_detail(known, step=3, tokens_per_s=312.4) == (
        "step 3/57  loss 1.284  val 1.302  312 tok/s, 41% of the limit  3.1 GiB"
    )


def test_the_throughput_limit_is_the_rate_of_products_over_the_operations_of_a_token() -> None:
    shape = ModelShape(1000, 2, 100, 8, 50, 10, 32, True, ())
    rows = Rows((TokenRow("a", tuple(range(10)), (False,) * 6 + (True,) * 4),), ())
    run = IntendedRun(
        recipe=Recipe(settings=TrainSettings(), config=None, fast=None),
        train=rows,
        val=Rows((), ()),
        steps=(OptimiserStep(1, 0, ((0,),)),),
    )
    # Two layers: 4 x 100 x 10 + 7 x 10 x 10^2 = 11,000 each; the head: 4 x 50 x 8 x 4 = 6,400.
    # 28,400 operations for 10 tokens, at 28,400,000 a second.
    machine = Machine(1, 28.4e6, 1e9, 1e9, 1.0, 1.0)
    assert with_throughput_limit(machine, run, shape).limit_tokens_per_s == 10_000
    int8 = replace_settings(run, precision="int8")
    assert with_throughput_limit(machine, int8, shape).limit_tokens_per_s is None


def replace_settings(run: IntendedRun, **changes: object) -> IntendedRun:
    settings = dataclasses.replace(run.settings, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, settings=settings))


def test_the_time_left_is_the_forecast_until_it_is_measured() -> None:
    forecast = TimeForecast(
        total_s=400.0, low_s=300.0, high_s=500.0, start_s=3.0, steps_s=360.0, validation_s=24.0,
        checkpoints_s=12.0, end_s=1.0, first_step_s=90.0, real_tokens_per_s=4.0,
    )  # fmt: skip
    timer = RunTimer(steps=4, validations={0, 2, 4}, forecast=forecast)
    # 720 tokens at 4 a second, two of three validations, all checkpoints.
    assert timer.remaining_s(1, 720) == pytest.approx(180.0 + 16.0 + 12.0)
    timer.add_micro_batch(100, 50.0)
    # 2 tokens a second now; what is not measured yet stays as forecast.
    assert timer.remaining_s(1, 620) == pytest.approx(310.0 + 16.0 + 12.0)


def test_coming_validations_and_checkpoints_are_in_the_time_left() -> None:
    now = iter((0.0, 30.0, 100.0, 101.0))
    timer = RunTimer(steps=4, validations={0, 2, 4}, clock=lambda: next(now))
    timer.add_micro_batch(100, 50.0)
    with timer.time_validation():
        pass
    # 100 tokens are 50 s, a validation 30 s: one comes after step 4, and from step 1 two.
    assert timer.remaining_s(3, 100) == pytest.approx(80.0)
    assert timer.remaining_s(1, 100) == pytest.approx(110.0)
    with timer.time_saving():
        pass
    assert timer.remaining_s(3, 100) == pytest.approx(82.0)
