"""A suite that asks both models: its tasks before, its rates and pairs after."""

from collections.abc import Sequence

from msgspec import Struct

from journeyman.evaluate.measuring.check_trust import CheckTrustTotals, try_canaries
from journeyman.evaluate.measuring.rates import LADDER, extract_rules, paired, rungs
from journeyman.evaluate.records.scores import (
    ArmId,
    EvaluationTask,
    Item,
    RungId,
    ScoredItem,
    counts,
)
from journeyman.evaluate.records.suites import ExcludedTask, Suite, SuiteArm, SuiteName
from journeyman.evaluate.scoring.ladder import ScoreItem, score_all
from journeyman.evaluate.scoring.run_checks import CheckCode
from journeyman.evaluate.suites.probes import PROBE_RUNGS, score_probe
from journeyman.events import Reporter
from journeyman.stats import ALPHA


class SuiteTasks(Struct, frozen=True, kw_only=True):
    """The tasks of one suite, the rungs that it has, and what is to be said about them.

    `excluded` are tasks that failed a canary already and are not asked.
    """

    name: SuiteName
    title: str
    tasks: tuple[EvaluationTask, ...]
    rungs: tuple[RungId, ...]
    excluded: tuple[ExcludedTask, ...] = ()
    note: str = ""


def asked_again(suite: Suite) -> SuiteTasks:
    """What was asked, by a result. The canaries that run code are tried again with the scores."""
    return SuiteTasks(
        name=suite.name,
        title=suite.title,
        tasks=suite.tasks,
        rungs=PROBE_RUNGS if suite.name == "probes" else LADDER,
        excluded=suite.excluded if suite.name == "probes" else (),
        note=suite.note,
    )


def asked_result(
    asked: SuiteTasks,
    arms: Sequence[ArmId],
    items: Sequence[Item],
    check_code: CheckCode | None,
    report: Reporter,
    *,
    alpha: float = ALPHA,
) -> Suite:
    """The suite, its answers scored now. items: of any suite; the others are left out."""
    score: ScoreItem | None = score_probe if asked.name == "probes" else None
    ids = {task.id for task in asked.tasks}
    canaries = try_canaries(asked.tasks, check_code, report)
    mine = [item for item in items if item.task in ids and item.arm in arms]
    tasks = canaries.counted(asked.tasks)
    scored = score_all(mine, tasks, check_code, report, score=score)
    return asked_suite(asked, arms, scored, canaries, alpha=alpha)


def asked_suite(
    asked: SuiteTasks,
    arms: Sequence[ArmId],
    scored: Sequence[ScoredItem],
    canaries: CheckTrustTotals,
    *,
    alpha: float = ALPHA,
) -> Suite:
    """Rungs by arm and pairs from scored answers. alpha: error of each one-sided bound."""
    tasks = canaries.counted(asked.tasks)
    pairs = (paired(rung, tasks, scored, alpha=alpha) for rung in asked.rungs if rung != "S0")
    found = []
    for arm in arms:
        own = [one for one in scored if one.item.arm == arm]
        shown = rungs(tasks, own, asked.rungs)
        found.append(SuiteArm(arm, len(own), shown, extract_rules(own)))
    return Suite(
        name=asked.name,
        title=asked.title,
        n=len(asked.tasks),
        clusters=len({task.cluster for task in tasks if counts("S4", task)}),
        note=asked.note,
        arms=tuple(found),
        paired=tuple(pair for pair in pairs if pair is not None),
        excluded=(*asked.excluded, *canaries.excluded),
        canaries=canaries.tried,
        tasks=asked.tasks,
        items=tuple(scored),
    )
