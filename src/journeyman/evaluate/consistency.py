"""What no two parts of a report may say differently, whatever numbers follow from each."""

from collections.abc import Iterator, Sequence

from journeyman.evaluate.canaries import enough
from journeyman.evaluate.fixed_plan import prompts_sha256
from journeyman.evaluate.plan import task_key
from journeyman.evaluate.records import CheckTrust, Evaluation, EvaluationTask, ScoredItem, Suite
from journeyman.evaluate.remaking import ReportDifference


def inconsistent(stored: Evaluation) -> Iterator[ReportDifference]:
    """Plan against tasks, models, answers, sandbox and suites."""
    yield from _plan(stored)
    yield from _models(stored)
    yield from _answers("items", stored.items, stored.tasks)
    yield from _sandbox(stored)
    yield from _canaries("canaries", stored.canaries, stored.tasks)
    for suite in stored.suites:
        yield from _answers(f"{suite.name} items", suite.items, suite.tasks)
        yield from _canaries(f"{suite.name} canaries", suite.canaries, suite.tasks)
    yield from _suites(stored)


def _plan(stored: Evaluation) -> Iterator[ReportDifference]:
    plan = stored.plan
    for task in stored.tasks:
        key = task_key(task.messages, task.tools)
        if key != task.id:
            yield ReportDifference(f"tasks {task.id}", "its prompt", f"a prompt with the id {key}")
    follows = {
        "prompts_sha256": (plan.prompts_sha256, prompts_sha256(stored.tasks)),
        "tasks": (plan.tasks, len(stored.tasks)),
        "clusters": (plan.clusters, len({task.cluster for task in stored.tasks})),
        "tasks_with_checks": (
            plan.tasks_with_checks,
            sum(bool(task.checks) for task in stored.tasks),
        ),
    }
    for name, (said, found) in follows.items():
        if said != found:
            yield ReportDifference(f"plan.{name}", str(said), str(found))


def _models(stored: Evaluation) -> Iterator[ReportDifference]:
    planned = {arm.id: arm.sha256 for arm in stored.plan.arms}
    for result in stored.arms:
        if planned and planned.get(result.arm.id) != result.arm.sha256:
            was = planned.get(result.arm.id, "not planned")
            yield ReportDifference(f"model {result.arm.id}", was, result.arm.sha256)


def _answers(
    where: str, items: Sequence[ScoredItem], tasks: Sequence[EvaluationTask]
) -> Iterator[ReportDifference]:
    seen = [(item.arm, item.task) for item in items]
    if len(set(seen)) != len(seen):
        yield ReportDifference(where, "one answer a task", "some answers twice")
    known = {task.id for task in tasks}
    for item in items:
        if item.task not in known:
            yield ReportDifference(where, "an answer to a planned task", f"one to {item.task}")


def _sandbox(stored: Evaluation) -> Iterator[ReportDifference]:
    """Code was run in no other sandbox than the one that held against its self test."""
    place = stored.environment
    test = place.self_test
    held = test.profile if test is not None and test.held and not test.failed else "none"
    if place.sandbox != held:
        yield ReportDifference("environment.sandbox", place.sandbox, f"by its self test: {held}")


def _canaries(
    where: str, canaries: Sequence[CheckTrust], tasks: Sequence[EvaluationTask]
) -> Iterator[ReportDifference]:
    """All tasks with checks were tried, or none; and what is said of each follows from it."""
    planned = sorted(task.id for task in tasks if task.checks)
    tried = sorted(one.task for one in canaries)
    if tried and tried != planned:
        yield ReportDifference(where, f"{len(tried)} tasks tried", f"{len(planned)} have checks")
    for one in canaries:
        sound = bool(one.own.passed) and enough(one.refused, one.mutants)
        if not one.failed and not sound:
            refused = f"{one.refused} of {one.mutants} mutants refused"
            yield ReportDifference(f"{where} {one.task}", "sound", one.own.code or refused)
        if one.failed == "reference fails" and one.own.passed:
            yield ReportDifference(f"{where} {one.task}", one.failed, "it passes")


def _suites(stored: Evaluation) -> Iterator[ReportDifference]:
    """Each suite asked what the plan's hash says; without a sandbox no canary ran."""
    found = {suite.name: suite for suite in stored.suites}
    for planned in stored.plan.suites:
        suite = found.get(planned.name, Suite(name=planned.name, title=""))
        if planned.n and prompts_sha256(suite.tasks) != planned.prompts_sha256:
            yield ReportDifference(
                f"plan.suites {planned.name}", f"{planned.n} tasks", f"other {len(suite.tasks)}"
            )
    everywhere = (*stored.canaries, *(one for suite in stored.suites for one in suite.canaries))
    if everywhere and stored.environment.sandbox == "none":
        yield ReportDifference(
            "canaries", f"{len(everywhere)} tasks tried", "no sandbox to try them in"
        )
