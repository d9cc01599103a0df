"""The line of a running training, and the limit that its rate is held against."""

import dataclasses

from msgspec.structs import replace

from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import OptimiserStep
from journeyman.train.batching.rows import Rows, TokenRow
from journeyman.train.engine.recipe import Recipe
from journeyman.train.forecast.records import Machine
from journeyman.train.forecast.run import IntendedRun
from journeyman.train.forecast.shape import ModelShape
from journeyman.train.forecast.stage import with_limit
from journeyman.train.monitor.progress import detail_of
from journeyman.train.monitor.status import new_status

STATUS = replace(new_status("training"), steps=57)


def test_what_is_known_stands_in_the_line() -> None:
    assert detail_of(STATUS, step=3, rate=312.4) == "step 3/57  312 tok/s"
    known = replace(
        STATUS, loss=1.2844, validation_loss=1.302, limit_share=0.41, rss_bytes=31 * 2**30 // 10
    )
    assert detail_of(known, step=3, rate=312.4) == (
        "step 3/57  loss 1.284  val 1.302  312 tok/s, 41% of the limit  3.1 GiB"
    )


def test_the_limit_is_the_rate_of_products_over_the_operations_of_a_token() -> None:
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
    assert with_limit(machine, run, shape).limit_tokens_per_s == 10_000
    int8 = replace_settings(run, precision="int8")
    assert with_limit(machine, int8, shape).limit_tokens_per_s is None


def replace_settings(run: IntendedRun, **changes: object) -> IntendedRun:
    settings = dataclasses.replace(run.settings, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, settings=settings))
