"""The result recomputed from what a report stores, and the differences to the report.

What was asked comes from the plan and from this package, the answers come from the report.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeGuard

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import UpstreamError
from journeyman.evaluate.measuring.check_trust import counted_tasks
from journeyman.evaluate.records.evaluation import Contamination, Evaluation
from journeyman.evaluate.records.scores import EvaluationTask, ScoredItem
from journeyman.evaluate.records.suites import Suite, SuiteName, SuitePlan
from journeyman.evaluate.scoring.ladder import score_item
from journeyman.evaluate.suites.choose import NAMES, planned_tasks
from journeyman.evaluate.suites.likelihood import likelihood_of_rows, with_reference
from journeyman.evaluate.suites.measure import TITLES, mean_answer_s, unmeasured_suite
from journeyman.evaluate.suites.probes import score_probe
from journeyman.evaluate.suites.quantisation import divergence_suite, parse_report
from journeyman.evaluate.suites.suite_tasks import SuiteTasks, stored_tasks, suite_result
from journeyman.evaluate.verdict.conclude import Findings, conclude
from journeyman.llama_cpp.bench import BenchRates

TOLERANCE = 1e-9
"""Relative: special functions differ in their last digits between versions of scipy."""

LENGTH_LIMIT = 60

EXECUTED = ("S3", "S4", "S4t")
"""Rungs that an answer without code cannot pass."""

Value = object


class ReportDifference(Struct, frozen=True):
    """A value of a report that does not follow from what it stores."""

    where: str
    stored: str
    found: str


def recompute(stored: Evaluation, leak: Contamination) -> Evaluation:
    """The result that follows from what a report stores."""
    tasks = {task.id: task for task in counted_tasks(stored.tasks, stored.canaries)}
    score = partial(_score_again, executed=stored.environment.sandbox != "none")
    items = (score(one, tasks[one.item.task]) for one in stored.items if one.item.task in tasks)

    def score_suite(suite: Suite, suite_tasks: SuiteTasks) -> Suite:
        return _score_suite_again(suite, suite_tasks, stored, score)

    return conclude(
        replace(
            findings_of(stored),
            leak=leak,
            items=tuple(items),
            suites=recompute_suites(stored, score_suite),
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


def _score_again(stored: ScoredItem, task: EvaluationTask, *, executed: bool) -> ScoredItem:
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
    """Every value that differs, by its path; lists of other lengths as a whole."""
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
"""Scores a stored answer on the ladder; the scores of executed code are the stored ones."""

ScoreSuite = Callable[[Suite, SuiteTasks], Suite]
"""Scores the stored answers of a suite that asked the models."""


def recompute_suites(stored: Evaluation, score_suite: ScoreSuite) -> tuple[Suite, ...]:
    """Every suite that the plan names; every other with the reason why it was not measured."""
    if not stored.suites and not stored.items:
        return ()
    planned = {suite.name: suite for suite in stored.plan.suites}
    names: tuple[SuiteName, ...] = ("held-out", *planned)
    answer_s = mean_answer_s([one.item for one in stored.items])
    return tuple(
        _suite(planned[name], stored, score_suite)
        if name in planned
        else unmeasured_suite(name, names, answer_s)
        for name in NAMES
        if name != "held-out"
    )


def _suite(planned: SuitePlan, stored: Evaluation, score_suite: ScoreSuite) -> Suite:
    name = planned.name
    suite = stored.suite(name) or Suite(name=name, title=TITLES[name])
    tasks = planned_tasks(planned, stored.plan.seed)
    if tasks is None and planned.n:
        tasks = stored_tasks(suite)
    if tasks is not None:
        return score_suite(suite, tasks)
    if suite.likelihood is not None:
        return _likelihood(suite, stored)
    if suite.divergence is not None:
        return _divergence(suite, stored)
    return Suite(name=name, title=TITLES[name], n=suite.n, not_measured=suite.not_measured)


def _score_suite_again(
    suite: Suite, suite_tasks: SuiteTasks, stored: Evaluation, score: ScoreAgain
) -> Suite:
    tasks = {task.id: task for task in counted_tasks(suite_tasks.tasks, suite.canaries)}
    items = [
        score_probe(one.item, tasks[one.item.task])
        if suite.name == "probes"
        else score(one, tasks[one.item.task])
        for one in suite.items
        if one.item.task in tasks
    ]
    arms = [result.arm.id for result in stored.arms]
    return suite_result(suite_tasks, arms, items, suite.canaries, alpha=stored.plan.alpha)


def _likelihood(suite: Suite, stored: Evaluation) -> Suite:
    """The means of the stored rows, each of which is one of the plan's tasks, once."""
    planned = {task.id: task for task in with_reference(stored.tasks)}
    stored_rows = suite.likelihood.rows if suite.likelihood else ()
    rows = {row.task: row for row in stored_rows if row.task in planned and row.tokens > 0}
    tuned = stored.arm("tuned")
    if not rows or tuned is None:
        return Suite(name=suite.name, title=TITLES[suite.name], not_measured="no rows are stored")
    clustered = [replace(row, cluster=planned[row.task].cluster) for row in rows.values()]
    seed, engine = stored.plan.seed, tuned.arm.engine
    return likelihood_of_rows(clustered, list(planned.values()), engine, seed)


def _divergence(suite: Suite, stored: Evaluation) -> Suite:
    """The figures in the stored lines of llama-perplexity's report."""
    tuned, given = stored.arm("tuned"), suite.divergence
    if tuned is None or given is None:
        return Suite(name=suite.name, title=TITLES[suite.name], not_measured="no tuned model")
    try:
        report = "\n".join(given.lines)
        return divergence_suite(parse_report(report, tuned.arm, given.f16_sha256))
    except UpstreamError as error:
        return Suite(name=suite.name, title=TITLES[suite.name], not_measured=error.message)
