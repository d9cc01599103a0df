"""From answers to the result: scores, rates, pairs, and the verdict on them."""

import datetime
from collections.abc import Sequence

from msgspec import Struct

from journeyman.evaluate.baseline import read_baseline
from journeyman.evaluate.canaries import try_canaries
from journeyman.evaluate.measures import arm_result, clusters_passing, paired
from journeyman.evaluate.plan import Planned
from journeyman.evaluate.records import (
    Arm,
    ArmId,
    ArmResult,
    Environment,
    Evaluation,
    Item,
    Paired,
    RungId,
    ScoredItem,
)
from journeyman.evaluate.scoring import find_checker, score_all
from journeyman.evaluate.verdict import Evidence, judge
from journeyman.events import Reporter
from journeyman.runs import machine, versions
from journeyman.settings import EvaluateSettings

COMPARED_RUNGS: tuple[RungId, ...] = ("S1", "S2", "S3", "S4")


def assembled(
    settings: EvaluateSettings,
    plan: Planned,
    arms: Sequence[Arm],
    items: Sequence[Item],
    *,
    load_average: float | None,
    report: Reporter,
) -> Evaluation:
    """Scores, rates and the verdict from the answers of all arms."""
    check_code = find_checker(plan.tasks, report, wanted=settings.sandbox)
    canaries = try_canaries(plan.tasks, check_code, report)
    tasks = canaries.counted(plan.tasks)
    scored = score_all(items, tasks, check_code, report)
    views = [_arm_view(arm.id, items, scored) for arm in arms]
    results = tuple(
        arm_result(arm, tasks, view.items, view.scored, settings.seed)
        for arm, view in zip(arms, views, strict=True)
    )
    pairs = tuple(p for r in COMPARED_RUNGS if (p := paired(r, tasks, scored)) is not None)
    k, n = clusters_passing("S1", tasks, views[-1].scored)
    verdict = judge(
        Evidence(
            plan=plan.plan,
            leak=plan.leak,
            tuned=_result("tuned", results),
            base=_result("base", results),
            success_k=k,
            success_n=n,
            primary=primary(pairs, with_checks=plan.plan.tasks_with_checks > 0),
            sandbox=check_code is not None,
            reference=canaries.reference,
        )
    )
    return Evaluation(
        verdict=verdict,
        plan=plan.plan,
        environment=environment(load_average, "strict" if check_code else "none"),
        leak=plan.leak,
        arms=results,
        paired=pairs,
        baseline=read_baseline(settings.test_data.parent),
        reference=canaries.reference,
        excluded=canaries.excluded,
        tasks=plan.tasks,
        items=tuple(scored),
    )


class _View(Struct, frozen=True):
    items: list[Item]
    scored: list[ScoredItem]


def _arm_view(arm: ArmId, items: Sequence[Item], scored: Sequence[ScoredItem]) -> _View:
    return _View([i for i in items if i.arm == arm], [s for s in scored if s.arm == arm])


def _result(arm: ArmId, results: Sequence[ArmResult]) -> ArmResult | None:
    return next((result for result in results if result.arm.id == arm), None)


def primary(pairs: Sequence[Paired], *, with_checks: bool) -> Paired | None:
    """What base and tuned are judged by: S4 where tasks have checks, run or not; else S2."""
    wanted: RungId = "S4" if with_checks else "S2"
    return next((pair for pair in pairs if pair.rung == wanted), None)


def leaked(settings: EvaluateSettings, plan: Planned) -> Evaluation:
    """The result of a test set that was trained on: no answers, and a verdict that says so."""
    verdict = judge(
        Evidence(
            plan=plan.plan,
            leak=plan.leak,
            tuned=None,
            base=None,
            success_k=0,
            success_n=0,
            primary=None,
            sandbox=False,
        )
    )
    return Evaluation(
        verdict=verdict,
        plan=plan.plan,
        environment=environment(None, "none"),
        leak=plan.leak,
        baseline=read_baseline(settings.test_data.parent),
        tasks=plan.tasks,
    )


def environment(load_average: float | None, sandbox: str) -> Environment:
    """Where this is measured, now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Environment(machine(), versions(), load_average, sandbox, now)
