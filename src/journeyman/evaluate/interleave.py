"""In which order the models are asked, so that a machine that slows down slows down all of them.

Two arms are asked as A-B-B-A: half of the tasks by the base, all by the tuned model, the other half
by the base again. Each block has an engine of its own, started for it, so that no cache, page or
pool of one block is there for the next. Over the whole, both arms' mean place in time is the same.
"""

from collections.abc import Sequence

from msgspec import Struct

from journeyman.evaluate.records import Arm, EvaluationTask


class AskingBlock(Struct, frozen=True):
    """Tasks that one engine is asked in a row, and its number in the order of the blocks."""

    number: int
    arm: Arm
    tasks: tuple[EvaluationTask, ...]


def blocks(arms: Sequence[Arm], tasks: Sequence[EvaluationTask]) -> list[AskingBlock]:
    """Every arm asks every task once: A (first half), B (all), A (second half)."""
    if len(arms) < 2 or len(tasks) < 2:
        return [AskingBlock(number, arm, tuple(tasks)) for number, arm in enumerate(arms)]
    first, *others = arms
    half = (len(tasks) + 1) // 2
    middle = [AskingBlock(number, arm, tuple(tasks)) for number, arm in enumerate(others, start=1)]
    return [
        AskingBlock(0, first, tuple(tasks[:half])),
        *middle,
        AskingBlock(len(middle) + 1, first, tuple(tasks[half:])),
    ]


def warm_blocks(arms: Sequence[Arm], tasks: Sequence[EvaluationTask]) -> list[AskingBlock]:
    """Every arm asks every task twice, A-B-B-A: the spread of the two is the noise."""
    order = [*arms, *reversed(arms)]
    return [AskingBlock(number, arm, tuple(tasks)) for number, arm in enumerate(order)]
