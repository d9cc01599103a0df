"""A result made again from what a report stores, and what in it is then different."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TypeGuard

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from journeyman.evaluate.canaries import CheckTrustTotals
from journeyman.evaluate.conclusion import Findings, concluded
from journeyman.evaluate.ladder import score
from journeyman.evaluate.records import Evaluation, EvaluationTask, Leak, ScoredItem
from journeyman.evaluate.suites.again import as_item, suites_again
from journeyman.llama_cpp.bench import BenchRates

TOLERANCE = 1e-9
"""Relative: special functions differ in their last digits between versions of scipy."""
LENGTH_LIMIT = 60

EXECUTED = ("S3", "S4", "S4t")
"""Rungs that an answer without code cannot stand on."""

Value = object


class ReportDifference(Struct, frozen=True):
    """Something that a report says otherwise than it follows from what it stores."""

    where: str
    stored: str
    found: str


def remade(stored: Evaluation, leak: Leak) -> Evaluation:
    """The result that follows from what a report stores."""
    tasks = {task.id: task for task in CheckTrustTotals(stored.canaries).counted(stored.tasks)}
    score_again = partial(_scored_again, executed=stored.environment.sandbox != "none")
    items = (score_again(item, tasks[item.task]) for item in stored.items if item.task in tasks)
    return concluded(
        replace(
            findings_of(stored),
            leak=leak,
            items=tuple(items),
            suites=suites_again(stored, score_again),
        )
    )


def findings_of(stored: Evaluation) -> Findings:
    """What a report says was measured, without what follows from it."""
    return Findings(
        plan=stored.plan,
        environment=stored.environment,
        leak=stored.leak,
        tasks=stored.tasks,
        arms=tuple(result.arm for result in stored.arms),
        items=stored.items,
        timings=stored.timings,
        rates={
            result.arm.id: BenchRates(
                result.prediction.prompt_tokens_per_s, result.prediction.decode_tokens_per_s
            )
            for result in stored.arms
            if result.prediction is not None
        },
        canaries=stored.canaries,
        suites=stored.suites,
        baseline=stored.baseline,
    )


def _scored_again(stored: ScoredItem, task: EvaluationTask, *, executed: bool) -> ScoredItem:
    """An item with the scores that its answer gets now; those of executed code are the stored."""
    now = score(as_item(stored), task, None)
    kept = {one.rung: one for one in stored.scores} if executed else {}
    merged = (
        kept[one.rung] if one.passed is None and one.rung in kept else one for one in now.scores
    )
    scores = [
        replace(one, passed=False) if one.passed and one.rung in EXECUTED and not now.code else one
        for one in merged
    ]
    return replace(now, scores=tuple(scores))


def differences(stored: Evaluation, found: Evaluation) -> Iterator[ReportDifference]:
    """Every value that is not the same in both, by its path; lists of other lengths as a whole."""
    yield from _differences(msgspec.to_builtins(stored), msgspec.to_builtins(found))


def _differences(stored: Value, found: Value, where: str = "") -> Iterator[ReportDifference]:
    if isinstance(stored, dict) and isinstance(found, dict):
        for key in {**stored, **found}:
            below = f"{where}.{key}" if where else str(key)
            yield from _differences(stored.get(key), found.get(key), below)
    elif _is_list(stored) and _is_list(found) and len(stored) == len(found):
        for place, (one, other) in enumerate(zip(stored, found, strict=True)):
            yield from _differences(one, other, f"{where}[{place}]")
    elif not _equal(stored, found):
        yield ReportDifference(where, _shown(stored), _shown(found))


def _is_list(value: Value) -> TypeGuard[Sequence[Value]]:
    return isinstance(value, list | tuple)


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        if isinstance(one, bool) or isinstance(other, bool):
            return one is other
        return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))
    return one == other


def _shown(value: Value) -> str:
    text = f"{len(value)} entries" if _is_list(value) else str(value)
    return text if len(text) <= LENGTH_LIMIT else text[: LENGTH_LIMIT - 1] + "…"
