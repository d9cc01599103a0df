"""A suite that asks both models: its tasks before, its rates and paired comparisons after."""

from collections.abc import Sequence

from msgspec import Struct

from journeyman.evaluate.measuring.check_trust import counted_tasks, excluded_tasks, try_checks
from journeyman.evaluate.measuring.rates import LADDER, extract_rules, paired_comparison, rungs
from journeyman.evaluate.records.scores import (
    ArmId,
    EvaluationTask,
    Item,
    RungId,
    ScoredItem,
    counts,
)
from journeyman.evaluate.records.suites import (
    CheckTrust,
    ExcludedTask,
    Suite,
    SuiteArm,
    SuiteName,
)
from journeyman.evaluate.scoring.ladder import ScoreItem, score_all
from journeyman.evaluate.scoring.run_checks import CheckCode
from journeyman.evaluate.suites.probes import PROBE_RUNGS, score_probe
from journeyman.events import Reporter
from journeyman.stats import ALPHA


class SuiteTasks(Struct, frozen=True, kw_only=True):
    """The tasks of one suite, its rungs, and a note on what they mean.

    `excluded` are tasks that are not asked because their rules failed check trust.
    """

    name: SuiteName
    title: str
    tasks: tuple[EvaluationTask, ...]
    rungs: tuple[RungId, ...]
    excluded: tuple[ExcludedTask, ...] = ()
    note: str = ""


def stored_tasks(suite: Suite) -> SuiteTasks:
    """The tasks of a result's suite. Trust in checks that run code is measured with the scores."""
    return SuiteTasks(
        name=suite.name,
        title=suite.title,
        tasks=suite.tasks,
        rungs=PROBE_RUNGS if suite.name == "probes" else LADDER,
        excluded=suite.excluded if suite.name == "probes" else (),
        note=suite.note,
    )


def score_suite(
    suite: SuiteTasks,
    arms: Sequence[ArmId],
    items: Sequence[Item],
    check_code: CheckCode | None,
    report: Reporter,
    *,
    alpha: float = ALPHA,
) -> Suite:
    """The suite's result, its answers scored now. items: of any suite; only this one's count."""
    score: ScoreItem | None = score_probe if suite.name == "probes" else None
    ids = {task.id for task in suite.tasks}
    tried = try_checks(suite.tasks, check_code, report)
    mine = [item for item in items if item.task in ids and item.arm in arms]
    tasks = counted_tasks(suite.tasks, tried)
    scored = score_all(mine, tasks, check_code, report, score=score)
    return suite_result(suite, arms, scored, tried, alpha=alpha)


def suite_result(
    suite: SuiteTasks,
    arms: Sequence[ArmId],
    scored: Sequence[ScoredItem],
    tried: Sequence[CheckTrust],
    *,
    alpha: float = ALPHA,
) -> Suite:
    """Rates by model and paired comparisons. alpha: error of each one-sided bound."""
    tasks = counted_tasks(suite.tasks, tried)
    pairs = (
        paired_comparison(rung, tasks, scored, alpha=alpha) for rung in suite.rungs if rung != "S0"
    )
    results = []
    for arm in arms:
        mine = [one for one in scored if one.item.arm == arm]
        results.append(
            SuiteArm(arm, len(mine), rungs(tasks, mine, suite.rungs), extract_rules(mine))
        )
    return Suite(
        name=suite.name,
        title=suite.title,
        n=len(suite.tasks),
        clusters=len({task.cluster for task in tasks if counts("S4", task)}),
        note=suite.note,
        arms=tuple(results),
        paired=tuple(pair for pair in pairs if pair is not None),
        excluded=(*suite.excluded, *excluded_tasks(tried)),
        canaries=tuple(tried),
        tasks=suite.tasks,
        items=tuple(scored),
    )
