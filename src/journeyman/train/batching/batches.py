"""Which rows meet in which step and micro-batch: chance decides the step, length only the padding.

Rows are shuffled once an epoch and cut into steps; only inside a step are they sorted by length,
so that rows of a micro-batch need little padding and no step has a bias towards a length.

Common beginnings of rows: how long they are, and micro-batches that keep them together.
"""

import itertools
import math
import random
from collections.abc import Callable, Sequence

from msgspec import Struct

from journeyman.settings import EFFECTIVE_BATCH, TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.batching.seeds import derived_seed

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


# Each branch costs two more calls of attention; a shorter common prefix is cheaper computed twice.
LEAST_SHARED_TOKENS = 16


def shared_tokens(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common prefix."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return min(len(left), len(right))


def division(rows: Sequence[TokenRow], settings: TrainSettings) -> Divide:
    """How the rows of a step become micro-batches: packs for the fast engine, pairs for the other.

    Settings are resolved: the engine is known.
    """
    if settings.engine == "fast":
        return lambda indices: by_prefix(indices, rows, tokens=settings.micro_batch_tokens)
    lengths = [len(row.ids) for row in rows]
    return lambda indices: by_length(indices, lengths, batch_size=settings.batch_size)


def by_prefix(indices: Sequence[int], rows: Sequence[TokenRow], *, tokens: int) -> Batches:
    """Packs of about equal size and at most `tokens`, one row at least; rows that begin alike meet.

    In the order of their ids, each row adds what it does not share with the one before.
    """
    ordered = sorted(indices, key=lambda index: (rows[index].ids, index))
    added = [len(rows[ordered[0]].ids)]
    for before, index in itertools.pairwise(ordered):
        shared = shared_tokens(rows[before].ids, rows[index].ids)
        own = len(rows[index].ids)
        added.append(own - shared if shared >= LEAST_SHARED_TOKENS else own)
    # As many packs as are needed, and no small one at the end.
    target = sum(added) / -(-sum(added) // tokens)
    packs: list[list[int]] = []
    size = 0
    for index, extra in zip(ordered, added, strict=True):
        own = len(rows[index].ids)
        fits = packs and size + extra <= tokens and size + extra / 2 <= target
        if fits:
            packs[-1].append(index)
            size += extra
        else:
            packs.append([index])
            size = own
    return tuple(tuple(pack) for pack in packs)


class MemoryReduction(Struct, frozen=True):
    """How far a run was made smaller: how often micro-batches were halved, and what is kept."""

    halvings: int = 0
    recompute: bool = False

    def __str__(self) -> str:
        parts = f"micro-batches in {2**self.halvings} parts" if self.halvings else "as asked"
        return f"{parts}, gradient checkpointing" if self.recompute else parts


def split(batches: Sequence[Sequence[int]], fit: MemoryReduction) -> Batches:
    """The micro-batches in parts of like size, order kept; a single row is not divided."""
    parts: Batches = tuple(tuple(batch) for batch in batches)
    for _ in range(fit.halvings):
        parts = tuple(half for batch in parts for half in _halves(batch))
    return parts


def _halves(batch: tuple[int, ...]) -> Batches:
    middle = (len(batch) + 1) // 2
    return tuple(half for half in (batch[:middle], batch[middle:]) if half)
