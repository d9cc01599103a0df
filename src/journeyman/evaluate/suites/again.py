"""The suites beside the held-out split, made again from what a report stores.

What was asked comes from the plan and from this package, what was answered from the report.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from journeyman.errors import UpstreamError
from journeyman.evaluate.canaries import CheckTrustTotals, without_checks
from journeyman.evaluate.records import Evaluation
from journeyman.evaluate.scored import EvaluationTask, Item, ScoredItem
from journeyman.evaluate.suite_records import Suite, SuiteName, SuitePlan
from journeyman.evaluate.suites.asked import SuiteTasks, asked_again, asked_suite
from journeyman.evaluate.suites.choice import NAMES, asked_by_plan
from journeyman.evaluate.suites.likelihood import answered, rows_suite
from journeyman.evaluate.suites.measuring import TITLES, mean_answer_s, missing
from journeyman.evaluate.suites.probes import score_probe
from journeyman.evaluate.suites.quantisation import divergence_suite, parsed

ScoreAgain = Callable[[ScoredItem, EvaluationTask], ScoredItem]
"""Scores a stored answer by the ladder, with what executed code came to as it is stored."""


def suites_again(stored: Evaluation, score: ScoreAgain) -> tuple[Suite, ...]:
    """Every suite that the plan names, and for every other why it was not measured."""
    if not stored.suites and not stored.items:
        return ()
    planned = {suite.name: suite for suite in stored.plan.suites}
    names: tuple[SuiteName, ...] = ("held-out", *planned)
    answer_s = mean_answer_s(stored.items)
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
        _probe(item, tasks) if found.name == "probes" else score(item, tasks[item.task])
        for item in found.items
        if item.task in tasks
    ]
    arms = [result.arm.id for result in stored.arms]
    return asked_suite(asked, arms, items, canaries, alpha=stored.plan.alpha)


def _probe(item: ScoredItem, tasks: Mapping[str, EvaluationTask]) -> ScoredItem:
    return score_probe(as_item(item), tasks[item.task])


def as_item(stored: ScoredItem) -> Item:
    """The answer of a scored item, as it came."""
    return Item(
        stored.arm,
        stored.task,
        stored.answer,
        stored.peak_memory_bytes,
        stored.load_s,
        stored.other_load,
        stored.memory,
    )


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
