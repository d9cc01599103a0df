"""A result made again from what a report stores, and what in it is then different.

The suites beside the held-out split, made again from what a report stores.

What was asked comes from the plan and from this package, what was answered from the report.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeGuard

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import UpstreamError
from journeyman.evaluate.measuring.check_trust import CheckTrustTotals, without_checks
from journeyman.evaluate.records.evaluation import Evaluation, Leak
from journeyman.evaluate.records.scores import EvaluationTask, ScoredItem
from journeyman.evaluate.records.suites import Suite, SuiteName, SuitePlan
from journeyman.evaluate.scoring.ladder import score_item
from journeyman.evaluate.suites.asked import SuiteTasks, asked_again, asked_suite
from journeyman.evaluate.suites.choose import NAMES, asked_by_plan
from journeyman.evaluate.suites.likelihood import answered, rows_suite
from journeyman.evaluate.suites.measure import TITLES, mean_answer_s, missing
from journeyman.evaluate.suites.probes import score_probe
from journeyman.evaluate.suites.quantisation import divergence_suite, parsed
from journeyman.evaluate.verdict.conclude import Findings, concluded
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
    items = (
        score_again(one, tasks[one.item.task]) for one in stored.items if one.item.task in tasks
    )
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
    now = score_item(stored.item, task, None)
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


ScoreAgain = Callable[[ScoredItem, EvaluationTask], ScoredItem]
"""Scores a stored answer by the ladder, with what executed code came to as it is stored."""


def suites_again(stored: Evaluation, score: ScoreAgain) -> tuple[Suite, ...]:
    """Every suite that the plan names, and for every other why it was not measured."""
    if not stored.suites and not stored.items:
        return ()
    planned = {suite.name: suite for suite in stored.plan.suites}
    names: tuple[SuiteName, ...] = ("held-out", *planned)
    answer_s = mean_answer_s([one.item for one in stored.items])
    return tuple(
        _again(name, planned[name], stored, score)
        if name in planned
        else missing(name, names, answer_s)
        for name in NAMES
        if name != "held-out"
    )


def _again(name: SuiteName, planned: SuitePlan, stored: Evaluation, score: ScoreAgain) -> Suite:
    found = stored.suite(name) or Suite(name=name, title=TITLES[name])
    asked = asked_by_plan(planned, stored.plan.seed) or (asked_again(found) if planned.n else None)
    if asked is not None:
        return _asked(found, asked, stored, score)
    if found.likelihood is not None:
        return _likelihood(found, stored)
    if found.divergence is not None:
        return _divergence(found, stored)
    return Suite(name=name, title=TITLES[name], n=found.n, not_measured=found.not_measured)


def _asked(found: Suite, asked: SuiteTasks, stored: Evaluation, score: ScoreAgain) -> Suite:
    canaries = CheckTrustTotals(found.canaries)
    tasks = {task.id: task for task in without_checks(asked.tasks, canaries.excluded)}
    items = [
        score_probe(one.item, tasks[one.item.task])
        if found.name == "probes"
        else score(one, tasks[one.item.task])
        for one in found.items
        if one.item.task in tasks
    ]
    arms = [result.arm.id for result in stored.arms]
    return asked_suite(asked, arms, items, canaries, alpha=stored.plan.alpha)


def _likelihood(found: Suite, stored: Evaluation) -> Suite:
    """The means of the stored rows, each of which is one of the plan's tasks, once."""
    planned = {task.id: task for task in answered(stored.tasks)}
    given = found.likelihood.rows if found.likelihood else ()
    rows = {row.task: row for row in given if row.task in planned and row.tokens > 0}
    tuned = stored.arm("tuned")
    if not rows or tuned is None:
        return Suite(name=found.name, title=TITLES[found.name], not_measured="no rows are stored")
    clustered = [replace(row, cluster=planned[row.task].cluster) for row in rows.values()]
    return rows_suite(clustered, list(planned.values()), tuned.arm.engine, stored.plan.seed)


def _divergence(found: Suite, stored: Evaluation) -> Suite:
    """What the stored lines of the program's report say."""
    tuned, given = stored.arm("tuned"), found.divergence
    if tuned is None or given is None:
        return Suite(name=found.name, title=TITLES[found.name], not_measured="no tuned model")
    try:
        return divergence_suite(parsed("\n".join(given.lines), tuned.arm, given.f16_sha256))
    except UpstreamError as error:
        return Suite(name=found.name, title=TITLES[found.name], not_measured=error.message)
