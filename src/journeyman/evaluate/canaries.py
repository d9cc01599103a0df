"""Whether a task's check can be trusted: tried on code whose verdict is known, before it counts.

The row's own answer must pass, the same with empty bodies must fail, and so must code that leaves
before its checks. A task whose check fails one of these is excluded from S4 and listed.
Not covered: checks that are too weak to see most wrong answers (`journeyman.evaluate.mutants` says
that of tests, not of checks); a wrong answer in the row that its check lets pass.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from journeyman.evaluate.executing import CheckCode, checked, said
from journeyman.evaluate.extract import extract
from journeyman.evaluate.judged_tests import judged
from journeyman.evaluate.measures import rungs
from journeyman.evaluate.scored import Rung, Score, ScoredItem, Task, counts
from journeyman.evaluate.stubs import stub_of
from journeyman.evaluate.suite_records import Excluded
from journeyman.events import Progress, ProgressEnded, Reporter
from journeyman.records import Answer

LEAVES = "import os\nos._exit(0)\n"
"""Ends with success before any check ran."""


class Canaries(Struct, frozen=True):
    """What the canaries say: S4 of the rows' own answers, and the tasks that do not count.

    `reference` is None where nothing was run.
    """

    reference: Rung | None = None
    excluded: tuple[Excluded, ...] = ()

    def counted(self, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """The tasks with the checks of those that are excluded taken away."""
        return without_checks(tasks, self.excluded)


def without_checks(tasks: Sequence[Task], excluded: Sequence[Excluded]) -> tuple[Task, ...]:
    """Tasks of which those that are excluded have no check any more, so that S4 leaves them out."""
    out = {one.task for one in excluded}
    return tuple(replace(task, checks=()) if task.id in out else task for task in tasks)


def try_canaries(tasks: Sequence[Task], check_code: CheckCode | None, report: Reporter) -> Canaries:
    """Run the canaries of every task that has checks; nothing is excluded where nothing runs."""
    planned = [task for task in tasks if task.checks]
    if check_code is None or not planned:
        return Canaries()
    own: list[ScoredItem] = []
    excluded: list[Excluded] = []
    for task in planned:
        score = own_answer(task, check_code)
        own.append(ScoredItem("base", task.id, Answer(task.reference, "stop"), (score,)))
        found = failed_canary(task, score, check_code)
        if found is not None:
            excluded.append(found)
        report(Progress("canaries", len(own), len(planned), "tasks"))
    sound = len(planned) - len(excluded)
    report(ProgressEnded("canaries", f"the checks of {sound} of {len(planned)} tasks are sound"))
    return Canaries(rungs(planned, own, ("S4", "S4t"))[0], tuple(excluded))


def own_answer(task: Task, check_code: CheckCode) -> Score:
    """S4, or S4t, of the answer that the row itself holds."""
    extraction = extract(task.reference, task.entry_point)
    if counts("S4t", task):
        return judged(extraction, task.checks, check_code)
    return checked(extraction, task.checks, check_code)


def failed_canary(task: Task, own: Score, check_code: CheckCode) -> Excluded | None:
    """The first canary that does not do as it must, or None. own: the score of the row's answer."""
    if not own.passed:
        return Excluded(task.id, "reference fails", f"{own.code}: {own.detail}".rstrip(": "))
    if counts("S4t", task):
        # The tests have failed on a stub; without a mutant nothing more can be known of others.
        return None if own.of else Excluded(task.id, "no mutants")
    code = extract(task.reference, task.entry_point).code
    for name, canary in (("stub passes", stub_of(code)), ("leaving passes", LEAVES)):
        results = [check_code(canary, check) for check in task.checks]
        if all(result.passed for result in results):
            return Excluded(task.id, name, said(results[-1]))
    return None
