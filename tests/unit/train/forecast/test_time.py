"""From the measured times of a few micro-batches to the time of a whole run."""

import msgspec
import pytest

from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import Rows, TokenRow
from journeyman.train.engine.recipe import Recipe
from journeyman.train.forecast.probe import DepthTimes, ProbeResult, depths_for
from journeyman.train.forecast.probe_parts import VOCABULARY
from journeyman.train.forecast.records import Machine, TimeForecast
from journeyman.train.forecast.run import (
    IntendedRun,
    MicroBatchWork,
    layer_operations,
    run_of,
    seed_work,
    with_settings,
    work_of,
)
from journeyman.train.forecast.shape import ModelShape
from journeyman.train.forecast.time import costs_of, fit_line, time_of

SHAPE = ModelShape(1000, 30, 100, 8, 49152, 8, 32, True, (("q_proj", 8, 8),))


def row(tokens: int, trained: int = 1) -> TokenRow:
    return TokenRow(str(tokens), (1,) * tokens, (False,) * (tokens - trained) + (True,) * trained)


def some_run(**changes: object) -> IntendedRun:
    given = {"batch_size": 2, "accumulation": 2, "epochs": 2.0, "precision": "fp32"} | changes
    settings = TrainSettings(**given)  # type: ignore[arg-type]
    train = Rows(tuple(row(10 * (n + 1), 5) for n in range(8)), ())
    recipe = Recipe(settings=settings, config=None, fast=None)
    return run_of(recipe, train, Rows((row(50, 5), row(60, 5)), ()))


def test_padding_counts_as_computed_and_packing_does_not() -> None:
    rows = [row(10, 4), row(30, 6)]
    assert work_of(rows, padded=True) == MicroBatchWork(
        computed=60, squares=1800, real=40, trained=10
    )
    assert work_of(rows, padded=False) == MicroBatchWork(
        computed=40, squares=1000, real=40, trained=10
    )


def test_the_seed_recipe_pads_every_row_to_2048() -> None:
    assert seed_work([row(512), row(512)]) == MicroBatchWork(4096, 2 * 2048**2, 1024, 4096)


def test_a_line_is_fitted_exactly_and_never_falls_below_zero() -> None:
    line = fit_line([(x, 0.5 + 2.0 * x) for x in (1.0, 2.0, 4.0)])
    assert line.at(10.0) == pytest.approx(20.5)
    steep = fit_line([(1.0, 1.0), (2.0, 3.0)])
    assert steep.at_zero == 0.0
    assert fit_line([(4.0, 2.0)]).at(8.0) == 4.0


def measured_from(layer_s_per_operation: float, head_s: float, fixed_s: float) -> ProbeResult:
    """What the probe would measure if every cost were exactly linear."""
    batches = []
    for work in (MicroBatchWork(100, 6000, 100, 50), MicroBatchWork(200, 30000, 190, 90)):
        layer_s = 1e-3 + layer_s_per_operation * layer_operations(SHAPE, work)
        rest_s = fixed_s + head_s * work.trained * VOCABULARY / SHAPE.vocabulary
        times = [layers * layer_s + rest_s for layers in (2, 8)]
        batches.append(DepthTimes(work, *times, *(0.3 * one for one in times)))
    return ProbeResult(2, 8, tuple(batches), head_s, 0.3 * head_s, 0.008, 1.0, 1.0, 1.0)


def test_a_linear_machine_is_forecast_exactly() -> None:
    costs = costs_of(measured_from(2e-6, 1e-4, 0.02), SHAPE)
    work = MicroBatchWork(150, 15000, 140, 70)
    expected = 30 * (1e-3 + 2e-6 * layer_operations(SHAPE, work)) + 1e-4 * 70 + 0.02
    assert costs.backward.seconds(SHAPE, work) == pytest.approx(expected, rel=1e-9)
    assert costs.forward.seconds(SHAPE, work) == pytest.approx(0.3 * expected, rel=1e-9)
    assert costs.update_s == pytest.approx(0.008 * 30 / 8)


def test_layers_in_full_precision_cost_every_token_more() -> None:
    plain = measured_from(2e-6, 1e-4, 0.02)
    some = msgspec.structs.replace(plain, full_precision_s=5e-5)
    work = MicroBatchWork(150, 15000, 140, 70)
    for kind in ("backward", "forward"):
        seconds, more = (
            getattr(costs_of(one, SHAPE), kind).seconds(SHAPE, work) for one in (plain, some)
        )
        assert more == pytest.approx(seconds + 150 * 5e-5)


def hours(run: IntendedRun, slowdown: float = 1.0) -> TimeForecast:
    costs = costs_of(measured_from(2e-6, 1e-4, 0.02), SHAPE)
    machine = Machine(1, 1e9, 1e10, 1e8, 1.0, slowdown)
    return time_of(run, SHAPE, costs, machine)


def test_the_parts_of_the_time_add_up_and_lie_in_the_range() -> None:
    found = hours(some_run())
    parts = found.start_s + found.steps_s + found.validation_s + found.checkpoints_s + found.end_s
    assert found.total_s == pytest.approx(parts)
    assert found.low_s < found.total_s < found.high_s


def test_an_unsteady_machine_takes_longer_and_widens_the_range() -> None:
    steady, unsteady = hours(some_run()), hours(some_run(), slowdown=1.2)
    assert unsteady.steps_s == pytest.approx(1.2 * steady.steps_s)
    assert unsteady.high_s / unsteady.total_s > steady.high_s / steady.total_s


def test_half_the_epochs_take_half_the_steps_time() -> None:
    whole = some_run()
    half = with_settings(whole, epochs=1.0)
    assert half is not None
    # Order differs from epoch to epoch, so padding may too.
    assert hours(half).steps_s == pytest.approx(hours(whole).steps_s / 2, rel=0.1)
    assert whole.validation_count == 3
    assert half.validation_count == 2


def test_a_shorter_limit_leaves_longer_rows_out() -> None:
    shorter = with_settings(some_run(), max_tokens=45)
    assert shorter is not None
    assert [len(one.ids) for one in shorter.train.used] == [10, 20, 30, 40]
    assert with_settings(some_run(), max_tokens=5) is None


def test_a_seven_billion_layer_is_probed_alone_and_small_layers_together() -> None:
    large = ModelShape(7_615_616_512, 28, 233_057_280, 3584, 152_064, 3584, 18944, False, ())
    found = depths_for(large, element_bytes=4, rate=1e11, tokens=1000)
    assert (found.shallow, found.deep) == (1, 1)
    assert found.most_tokens < 300
    small = ModelShape(134_515_008, 30, 3_538_944, 576, 49152, 576, 1536, True, ())
    found = depths_for(small, element_bytes=4, rate=1e11, tokens=1000)
    assert (found.shallow, found.deep, found.most_tokens) == (2, 10, 1000)
