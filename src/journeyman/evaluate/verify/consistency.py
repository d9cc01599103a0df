"""The parts of a report against each other, and against the files that it names.

Plan, page, rows, splits, log and model are compared if they are still there.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from journeyman.errors import JourneymanError
from journeyman.evaluate.asking.plan import (
    plan_path,
    plan_sha256,
    prompts_sha256,
    task_key,
    tasks_in_order,
)
from journeyman.evaluate.measuring.baseline import read_baseline
from journeyman.evaluate.measuring.check_trust import enough
from journeyman.evaluate.records.evaluation import Evaluation, EvaluationPlan
from journeyman.evaluate.records.scores import EvaluationTask, ScoredItem
from journeyman.evaluate.records.suites import CheckTrust, Suite
from journeyman.evaluate.report.page import page
from journeyman.evaluate.verify.recompute import ReportDifference, differences
from journeyman.files import sha256_of


def inconsistencies(stored: Evaluation) -> Iterator[ReportDifference]:
    """The plan against tasks, models, answers, sandbox and suites."""
    yield from _plan(stored)
    yield from _models(stored)
    yield from _answers("items", stored.items, stored.tasks)
    yield from _sandbox(stored)
    yield from _check_trust("canaries", stored.canaries, stored.tasks)
    for suite in stored.suites:
        yield from _answers(f"{suite.name} items", suite.items, suite.tasks)
        yield from _check_trust(f"{suite.name} canaries", suite.canaries, suite.tasks)
    yield from _suites(stored)


def _plan(stored: Evaluation) -> Iterator[ReportDifference]:
    plan = stored.plan
    for task in stored.tasks:
        key = task_key(task.messages, task.tools)
        if key != task.id:
            yield ReportDifference(f"tasks {task.id}", "its prompt", f"a prompt with the id {key}")
    values = {
        "prompts_sha256": (plan.prompts_sha256, prompts_sha256(stored.tasks)),
        "tasks": (plan.tasks, len(stored.tasks)),
        "clusters": (plan.clusters, len({task.cluster for task in stored.tasks})),
        "tasks_with_checks": (
            plan.tasks_with_checks,
            sum(bool(task.checks) for task in stored.tasks),
        ),
    }
    for name, (planned, found) in values.items():
        if planned != found:
            yield ReportDifference(f"plan.{name}", str(planned), str(found))


def _models(stored: Evaluation) -> Iterator[ReportDifference]:
    planned = {arm.id: arm.sha256 for arm in stored.plan.arms}
    for result in stored.arms:
        if planned and planned.get(result.arm.id) != result.arm.sha256:
            sha256 = planned.get(result.arm.id, "not planned")
            yield ReportDifference(f"model {result.arm.id}", sha256, result.arm.sha256)


def _answers(
    where: str, scored: Sequence[ScoredItem], tasks: Sequence[EvaluationTask]
) -> Iterator[ReportDifference]:
    items = [one.item for one in scored]
    seen = [(item.arm, item.task) for item in items]
    if len(set(seen)) != len(seen):
        yield ReportDifference(where, "one answer per task", "some answers twice")
    known = {task.id for task in tasks}
    for item in items:
        if item.task not in known:
            yield ReportDifference(where, "an answer to a planned task", f"one to {item.task}")


def _sandbox(stored: Evaluation) -> Iterator[ReportDifference]:
    """The sandbox that ran the code is the one that passed its self test."""
    place = stored.environment
    test = place.self_test
    passed = test.profile if test is not None and test.held and not test.failed else "none"
    if place.sandbox != passed:
        yield ReportDifference("environment.sandbox", place.sandbox, f"by its self test: {passed}")


def _check_trust(
    where: str, tried: Sequence[CheckTrust], tasks: Sequence[EvaluationTask]
) -> Iterator[ReportDifference]:
    """Either all tasks with checks were tried or none, and each result follows from its trials."""
    planned = sorted(task.id for task in tasks if task.checks)
    ids = sorted(one.task for one in tried)
    if ids and ids != planned:
        yield ReportDifference(where, f"{len(ids)} tasks tried", f"{len(planned)} have checks")
    for one in tried:
        trusted = bool(one.own.passed) and enough(one.refused, one.mutants)
        if not one.failed and not trusted:
            refused = f"{one.refused} of {one.mutants} mutants refused"
            yield ReportDifference(f"{where} {one.task}", "trusted", one.own.code or refused)
        if one.failed == "reference fails" and one.own.passed:
            yield ReportDifference(f"{where} {one.task}", one.failed, "it passes")


def _suites(stored: Evaluation) -> Iterator[ReportDifference]:
    """Each suite asked the prompts of the plan's hash; without a sandbox no check was tried."""
    found = {suite.name: suite for suite in stored.suites}
    for planned in stored.plan.suites:
        suite = found.get(planned.name, Suite(name=planned.name, title=""))
        if planned.n and prompts_sha256(suite.tasks) != planned.prompts_sha256:
            yield ReportDifference(
                f"plan.suites {planned.name}", f"{planned.n} tasks", f"other {len(suite.tasks)}"
            )
    tried = len(stored.canaries) + sum(len(suite.canaries) for suite in stored.suites)
    if tried and stored.environment.sandbox == "none":
        yield ReportDifference("canaries", f"{tried} tasks tried", "no sandbox to try them in")


def file_differences(
    path: Path, stored: Evaluation, given: Path | None, notes: list[str]
) -> Iterator[ReportDifference]:
    """The differences between the files and the report. notes: gets what could not be compared.

    given: the model's file, if it is not the one that the report names.
    """
    yield from _plan_beside(path, stored, notes)
    yield from _page(path, stored, notes)
    yield from _rows(stored, notes)
    yield from _model(stored, given, notes)


def _plan_beside(path: Path, stored: Evaluation, notes: list[str]) -> Iterator[ReportDifference]:
    beside = plan_path(path)
    if not beside.is_file():
        # If a gate failed before the first answer, no plan was written.
        if stored.items:
            notes.append(f"the plan `{beside}` is missing: it was not compared")
    elif (written := _plan_hash(beside)) != stored.plan_sha256:
        yield ReportDifference(f"plan in {beside.name}", stored.plan_sha256[:12], written[:12])


def _plan_hash(path: Path) -> str:
    try:
        return plan_sha256(msgspec.json.decode(path.read_bytes(), type=EvaluationPlan))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "damaged"


def _page(path: Path, stored: Evaluation, notes: list[str]) -> Iterator[ReportDifference]:
    beside = path.with_suffix(".html")
    if not beside.is_file():
        notes.append(f"the page `{beside}` is missing: it was not compared")
    elif beside.read_text(encoding="utf-8", errors="replace") != page(stored):
        yield ReportDifference(f"page {beside.name}", "the file", "another page")


def _rows(stored: Evaluation, notes: list[str]) -> Iterator[ReportDifference]:
    """The tasks follow from the test rows, the baseline from their folder."""
    plan = stored.plan
    test_data = Path(plan.test_data)
    if not test_data.is_file() or sha256_of(test_data) != plan.test_sha256:
        notes.append(f"`{test_data}` is missing or changed: the tasks were not compared")
        return
    try:
        rows, tasks = tasks_in_order(test_data, plan.limit, plan.seed)
        # The baseline needs the rows of every split; a note on contamination says if some are gone.
        whole = all(Path(name).is_file() for name in stored.leak.files)
        baseline = read_baseline(test_data.parent) if whole else stored.baseline
    except JourneymanError as error:
        notes.append(f"the tasks and the baseline were not compared: {error}")
        return
    found = replace(stored, plan=replace(plan, rows=rows), tasks=tuple(tasks), baseline=baseline)
    yield from differences(stored, found)


def _model(stored: Evaluation, given: Path | None, notes: list[str]) -> Iterator[ReportDifference]:
    tuned = stored.arm("tuned")
    if tuned is None:
        return
    model = given or (Path(tuned.arm.path) if tuned.arm.engine == "llama.cpp" else None)
    if model is None or (given is None and not model.is_file()):
        notes.append("the model's file is missing: its hash was not compared")
    elif (now := sha256_of(model)) != tuned.arm.sha256:
        yield ReportDifference(f"model {model}", tuned.arm.sha256[:12], now[:12])
