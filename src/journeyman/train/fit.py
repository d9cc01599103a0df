"""The same rows a step in smaller micro-batches: losses stay comparable, memory goes down.

Only rounding and the draws of dropout change, and a run's lineage says since when.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from journeyman.train.batches import Batches


class MemoryReduction(Struct, frozen=True):
    """How far a run was made smaller: how often micro-batches were halved, and what is kept."""

    halvings: int = 0
    recompute: bool = False

    def __str__(self) -> str:
        parts = f"micro-batches in {2**self.halvings} parts" if self.halvings else "as asked"
        return f"{parts}, activations computed twice" if self.recompute else parts


@runtime_checkable
class CheckpointingEngine(Protocol):
    """An engine that can compute activations twice instead of keeping them."""

    def recompute(self) -> None:
        """From now on keep no activations inside of a layer: less memory, about a third slower."""


def split(batches: Sequence[Sequence[int]], fit: MemoryReduction) -> Batches:
    """The micro-batches in parts of like size, order kept; a single row is not divided."""
    parts: Batches = tuple(tuple(batch) for batch in batches)
    for _ in range(fit.halvings):
        parts = tuple(half for batch in parts for half in _halves(batch))
    return parts


def _halves(batch: tuple[int, ...]) -> Batches:
    middle = (len(batch) + 1) // 2
    return tuple(half for half in (batch[:middle], batch[middle:]) if half)


def next_smaller(
    batches: Sequence[Sequence[int]], fit: MemoryReduction, engine: object
) -> MemoryReduction | None:
    """Halved once more while a micro-batch has two rows, then recomputation, then None."""
    if any(len(batch) > 1 for batch in split(batches, fit)):
        return MemoryReduction(fit.halvings + 1, fit.recompute)
    if isinstance(engine, CheckpointingEngine) and not fit.recompute:
        return MemoryReduction(fit.halvings, recompute=True)
    return None
