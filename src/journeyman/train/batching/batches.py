"""The optimiser steps of a run and the micro-batches of each step.

Rows are shuffled once an epoch and cut into steps, so that no step prefers short or long rows. Only
inside a step are rows grouped: by length for the hf engine, which pads them, and by common prefix
for the fast engine, which packs them without padding and computes a shared prefix once. If memory
runs out, `split` makes the micro-batches smaller and leaves every step its rows.
"""

import itertools
import math
import random
from collections.abc import Callable, Sequence

from msgspec import Struct

from journeyman.settings import EFFECTIVE_BATCH, TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.batching.seeds import derived_seed

# Each branch costs two more calls of attention; a shorter common prefix is cheaper computed twice.
LEAST_SHARED_TOKENS = 16

Batches = tuple[tuple[int, ...], ...]
"""Micro-batches as indices of rows."""
Batcher = Callable[[Sequence[int]], Batches]
"""Groups the rows of a step, given as indices, into micro-batches."""


class OptimiserStep(Struct, frozen=True):
    """One optimiser step: its number from 1, its epoch from 0, and its micro-batches."""

    number: int
    epoch: int
    micro_batches: Batches

    @property
    def rows(self) -> tuple[int, ...]:
        """The indices of all rows of the step."""
        return tuple(index for batch in self.micro_batches for index in batch)


def accumulation_for(batch_size: int) -> int:
    """The number of micro-batches whose rows come nearest to the effective batch of 16."""
    return max(1, round(EFFECTIVE_BATCH / batch_size))


def plan_steps(
    lengths: Sequence[int],
    *,
    batch_size: int,
    accumulation: int,
    epochs: float,
    max_steps: int | None,
    seed: int,
    batcher: Batcher | None = None,
) -> tuple[OptimiserStep, ...]:
    """All steps of a run. The last step of an epoch may have fewer rows.

    lengths: tokens of each row. batcher: groups by length if not given. Of a fraction of an epoch
    (`epochs` 2.5) the first steps are taken, rounded, in the order of the whole epoch.
    """
    effective = batch_size * accumulation
    steps_an_epoch = math.ceil(len(lengths) / effective)
    total = max(1, round(steps_an_epoch * epochs))
    if max_steps is not None:
        total = min(total, max_steps)
    steps: list[OptimiserStep] = []
    for epoch in range(math.ceil(total / steps_an_epoch)):
        order = _shuffled(len(lengths), seed=seed, epoch=epoch)
        for start in range(0, len(order), effective):
            rows = order[start : start + effective]
            batches = batcher(rows) if batcher else by_length(rows, lengths, batch_size=batch_size)
            steps.append(OptimiserStep(len(steps) + 1, epoch, batches))
    return tuple(steps[:total])


def _shuffled(count: int, *, seed: int, epoch: int) -> list[int]:
    """The order of the rows in one epoch."""
    order = list(range(count))
    random.Random(derived_seed(seed, "order", epoch)).shuffle(order)  # noqa: S311
    return order


def tokens_of_run(lengths: Sequence[int], settings: TrainSettings) -> int:
    """About how many tokens all steps together have; the settings are resolved."""
    assert settings.accumulation is not None
    rows = len(lengths) * settings.epochs
    if settings.max_steps is not None:
        rows = min(rows, settings.max_steps * settings.batch_size * settings.accumulation)
    return round(sum(lengths) / max(1, len(lengths)) * rows)


def epoch_ends(steps: Sequence[OptimiserStep]) -> frozenset[int]:
    """The number of the last step of each epoch."""
    last = {step.epoch: step.number for step in steps}
    return frozenset(last.values())


def validated_steps(settings: TrainSettings, steps: Sequence[OptimiserStep]) -> frozenset[int]:
    """The steps after which the validation loss is measured; 0 is the base model."""
    every = settings.eval_steps
    last = steps[-1].number
    ends = epoch_ends(steps) if every is None else range(every, last, every)
    return frozenset({0, *ends, last})


def batcher_for(rows: Sequence[TokenRow], settings: TrainSettings) -> Batcher:
    """How these rows are grouped into micro-batches by the engine of resolved settings."""
    if settings.engine == "fast":
        return lambda indices: by_prefix(indices, rows, tokens=settings.micro_batch_tokens)
    lengths = [len(row.ids) for row in rows]
    return lambda indices: by_length(indices, lengths, batch_size=settings.batch_size)


def by_length(rows: Sequence[int], lengths: Sequence[int], *, batch_size: int) -> Batches:
    """Micro-batches of rows of similar length, the longest first: if memory runs out, it does so
    early."""
    ordered = sorted(rows, key=lambda index: (-lengths[index], index))
    return tuple(
        tuple(ordered[start : start + batch_size]) for start in range(0, len(ordered), batch_size)
    )


def by_prefix(indices: Sequence[int], rows: Sequence[TokenRow], *, tokens: int) -> Batches:
    """Packs of similar size, each of at most `tokens` tokens or of one row.

    Rows are taken in the order of their ids, so that rows with a common prefix share a pack; each
    row adds only the tokens that it does not share with the row before it.
    """
    ordered = sorted(indices, key=lambda index: (rows[index].ids, index))
    added = [len(rows[ordered[0]].ids)]
    for before, index in itertools.pairwise(ordered):
        shared = shared_tokens(rows[before].ids, rows[index].ids)
        own = len(rows[index].ids)
        added.append(own - shared if shared >= LEAST_SHARED_TOKENS else own)
    # As few packs as possible, filled evenly: no small one is left over at the end.
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


def shared_tokens(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common prefix."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return min(len(left), len(right))


class MemoryReduction(Struct, frozen=True):
    """What was changed so that a run fits into memory.

    halvings: how often micro-batches were halved. recompute: whether gradient checkpointing is on.
    """

    halvings: int = 0
    recompute: bool = False

    def __str__(self) -> str:
        parts = f"micro-batches in {2**self.halvings} parts" if self.halvings else "as asked"
        return f"{parts}, gradient checkpointing" if self.recompute else parts


def split(batches: Sequence[Sequence[int]], reduction: MemoryReduction) -> Batches:
    """The micro-batches in halves, quarters and so on, in the same order; single rows stay."""
    parts: Batches = tuple(tuple(batch) for batch in batches)
    for _ in range(reduction.halvings):
        parts = tuple(half for batch in parts for half in _halves(batch))
    return parts


def _halves(batch: tuple[int, ...]) -> Batches:
    middle = (len(batch) + 1) // 2
    return tuple(half for half in (batch[:middle], batch[middle:]) if half)
