"""Which suites are measured, and the tasks of those that ask the models.

The held-out split always is: the verdict is about it. By default a GGUF also gets the suites that
take little time beside it (probes, likelihood); an adapter, which torch answers for a first
impression, gets nothing more.
"""

from collections.abc import Sequence
from typing import get_args

from journeyman.errors import UsageError
from journeyman.evaluate.asking.plan import prompts_sha256
from journeyman.evaluate.records.suites import SuiteName, SuitePlan
from journeyman.evaluate.suites.humaneval import humaneval_suite
from journeyman.evaluate.suites.probes import NOTE, PROBE_RUNGS, probe_tasks
from journeyman.evaluate.suites.suite_tasks import SuiteTasks
from journeyman.settings import EvaluateSettings

NAMES: tuple[SuiteName, ...] = get_args(SuiteName)
BY_DEFAULT: tuple[SuiteName, ...] = ("held-out", "probes", "likelihood")


def choose_suites(settings: EvaluateSettings) -> tuple[SuiteName, ...]:
    """The suites to measure, in their own order. Raises UsageError for an unknown name."""
    if settings.suites is None:
        return BY_DEFAULT if settings.model.is_file() else ("held-out",)
    wanted = [name.strip() for name in settings.suites.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise UsageError(
            f"`--suites` does not know `{'`, `'.join(unknown)}`",
            hint=f"choose from: {','.join(NAMES)}",
        )
    return tuple(name for name in NAMES if name in wanted or name == "held-out")


def suites_to_ask(names: Sequence[SuiteName], settings: EvaluateSettings) -> tuple[SuiteTasks, ...]:
    """The chosen suites that ask the models, with their tasks."""
    suites = []
    if "humaneval" in names:
        suite = humaneval_suite(settings.limit_humaneval, settings.seed)
        suites += [suite] if suite else []
    if "probes" in names:
        suites.append(probes_suite())
    return tuple(suites)


def planned_tasks(planned: SuitePlan, seed: int) -> SuiteTasks | None:
    """The tasks of a plan's suite; None if it has none, or the package with them is missing."""
    if not planned.n:
        return None
    if planned.name == "humaneval":
        return humaneval_suite(planned.n, seed)
    return probes_suite() if planned.name == "probes" else None


def probes_suite() -> SuiteTasks:
    """Our own instruction probes."""
    tasks, excluded = probe_tasks()
    return SuiteTasks(
        name="probes",
        title="instructions kept",
        tasks=tasks,
        rungs=PROBE_RUNGS,
        excluded=excluded,
        note=NOTE,
    )


def suite_plans(names: Sequence[SuiteName], suites: Sequence[SuiteTasks]) -> tuple[SuitePlan, ...]:
    """What the plan says of the suites besides the held-out split."""
    tasks = {suite.name: suite.tasks for suite in suites}
    return tuple(
        SuitePlan(name, len(tasks[name]), prompts_sha256(tasks[name]))
        if name in tasks
        else SuitePlan(name)
        for name in names
        if name != "held-out"
    )
