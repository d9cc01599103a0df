"""From answers to the result: code is run, scores are given, and the conclusion drawn."""

import datetime
import os
from collections.abc import Mapping, Sequence

from journeyman.evaluate.baseline import read_baseline
from journeyman.evaluate.canaries import try_canaries
from journeyman.evaluate.conclusion import Findings, concluded
from journeyman.evaluate.costs import Timing
from journeyman.evaluate.plan import PlanWithTasks
from journeyman.evaluate.records import Arm, Environment, Evaluation, Item
from journeyman.evaluate.scoring import find_checker, score_all
from journeyman.evaluate.suites.measuring import SuiteMeasurements, mean_answer_s, results
from journeyman.events import Reporter
from journeyman.llama_cpp.bench import BenchRates
from journeyman.runs import machine, versions
from journeyman.sandbox.selftest import SelfTest
from journeyman.settings import EvaluateSettings


def assembled(
    settings: EvaluateSettings,
    plan: PlanWithTasks,
    arms: Sequence[Arm],
    items: Sequence[Item],
    *,
    timings: Sequence[Timing],
    rates: Mapping[str, BenchRates],
    suites: SuiteMeasurements,
    load_average: float | None,
    report: Reporter,
) -> Evaluation:
    """Scores, rates and the verdict from the answers of all arms."""
    asked = [task for suite in suites.asked for task in suite.tasks]
    checker = find_checker((*plan.tasks, *asked), report, profile=settings.sandbox)
    check_code = checker.run
    canaries = try_canaries(plan.tasks, check_code, report)
    scored = score_all(items, canaries.counted(plan.tasks), check_code, report)
    return concluded(
        Findings(
            plan=plan.plan,
            environment=environment(load_average, checker.self_test),
            leak=plan.leak,
            tasks=plan.tasks,
            arms=tuple(arms),
            items=tuple(scored),
            timings=tuple(timings),
            rates=rates,
            canaries=canaries.tried,
            suites=results(
                suites,
                [arm.id for arm in arms],
                check_code,
                report,
                answer_s=mean_answer_s(items),
                alpha=plan.plan.alpha,
            ),
            baseline=read_baseline(settings.test_data.parent),
        )
    )


def unasked(
    settings: EvaluateSettings, plan: PlanWithTasks, arms: Sequence[Arm] = ()
) -> Evaluation:
    """The result where a gate fails before the first answer: none, and a verdict that says why."""
    return concluded(
        Findings(
            plan=plan.plan,
            environment=environment(None, None),
            leak=plan.leak,
            tasks=plan.tasks,
            arms=tuple(arms),
            baseline=read_baseline(settings.test_data.parent),
        )
    )


def environment(load_average: float | None, self_test: SelfTest | None) -> Environment:
    """Where this is measured, now. self_test: of the sandbox, None where no code was to be run."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    cores = len(os.sched_getaffinity(0))
    held = self_test is not None and self_test.held
    sandbox = self_test.profile if self_test is not None and held else "none"
    return Environment(machine(), versions(), load_average, sandbox, now, cores, self_test)
