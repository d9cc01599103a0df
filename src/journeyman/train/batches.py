"""Which rows meet in which step and micro-batch: chance decides the step, length only the padding.

Rows are shuffled once an epoch and cut into steps; only inside a step are they sorted by length,
so that rows of a micro-batch need little padding and no step has a bias towards a length.
"""

import math
import random
from collections.abc import Callable, Sequence

from msgspec import Struct

from journeyman.settings import EFFECTIVE_BATCH, TrainSettings
from journeyman.train.seeds import derived_seed

Batches = tuple[tuple[int, ...], ...]
Divide = Callable[[Sequence[int]], Batches]


class OptimiserStep(Struct, frozen=True):
    """One optimiser step: number from 1, epoch from 0, and the rows of its micro-batches."""

    number: int
    epoch: int
    micro_batches: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The indices of all rows of the step."""
        return tuple(index for batch in self.micro_batches for index in batch)


def accumulation_for(batch_size: int) -> int:
    """Micro-batches whose rows come nearest to the effective batch of 16."""
    return max(1, round(EFFECTIVE_BATCH / batch_size))


def plan_steps(
    lengths: Sequence[int],
    *,
    batch_size: int,
    accumulation: int,
    epochs: float,
    max_steps: int | None,
    seed: int,
    divide: Divide | None = None,
) -> tuple[OptimiserStep, ...]:
    """All steps of a run. lengths: tokens of each row. The last step of an epoch may be smaller.

    divide: makes micro-batches of a step's rows; by length where it is not given.

    A part of an epoch (`epochs` 2.5) is the first part of its steps, rounded, in the same order.
    """
    effective = batch_size * accumulation
    steps_an_epoch = math.ceil(len(lengths) / effective)
    total = max(1, round(steps_an_epoch * epochs))
    if max_steps is not None:
        total = min(total, max_steps)
    steps: list[OptimiserStep] = []
    for epoch in range(math.ceil(total / steps_an_epoch)):
        order = shuffled(len(lengths), seed=seed, epoch=epoch)
        for start in range(0, len(order), effective):
            rows = order[start : start + effective]
            batches = divide(rows) if divide else by_length(rows, lengths, batch_size=batch_size)
            steps.append(OptimiserStep(len(steps) + 1, epoch, batches))
    return tuple(steps[:total])


def tokens_of_run(lengths: Sequence[int], settings: TrainSettings) -> int:
    """About how many tokens all steps together have; settings are resolved."""
    assert settings.accumulation is not None
    rows = len(lengths) * settings.epochs
    if settings.max_steps is not None:
        rows = min(rows, settings.max_steps * settings.batch_size * settings.accumulation)
    return round(sum(lengths) / max(1, len(lengths)) * rows)


def shuffled(count: int, *, seed: int, epoch: int) -> list[int]:
    """The order of the rows in one epoch."""
    order = list(range(count))
    random.Random(derived_seed(seed, "order", epoch)).shuffle(order)  # noqa: S311
    return order


def by_length(
    rows: Sequence[int], lengths: Sequence[int], *, batch_size: int
) -> tuple[tuple[int, ...], ...]:
    """Micro-batches of rows of like length, longest first: what needs most memory shows soon."""
    ordered = sorted(rows, key=lambda index: (-lengths[index], index))
    return tuple(
        tuple(ordered[start : start + batch_size]) for start in range(0, len(ordered), batch_size)
    )


def epoch_ends(steps: Sequence[OptimiserStep]) -> frozenset[int]:
    """The numbers of the steps after which an epoch is over."""
    last = {step.epoch: step.number for step in steps}
    return frozenset(last.values())


def validated_steps(settings: TrainSettings, steps: Sequence[OptimiserStep]) -> frozenset[int]:
    """The numbers of the steps after which the validation split is looked at; 0 is the base."""
    every = settings.eval_steps
    last = steps[-1].number
    ends = epoch_ends(steps) if every is None else range(every, last, every)
    return frozenset({0, *ends, last})
