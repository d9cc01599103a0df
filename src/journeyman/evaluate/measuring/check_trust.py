"""Whether a task's check can be trusted: tried on code whose verdict is known, before it counts.

The row's own answer must pass, the same with empty bodies must fail, so must code that leaves
before its checks, and so must four of five small wrong versions of the answer. A task whose check
fails one of these is excluded from S4 and listed.
Not covered: a wrong answer in the row that its check lets pass; how many mutants the row's own
tests find, where the answer is tests (that is S4t's).
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from journeyman.evaluate.measuring.rates import rungs
from journeyman.evaluate.records.scores import EvaluationTask, Item, Rung, Score, ScoredItem, counts
from journeyman.evaluate.records.suites import CheckTrust, ExcludedTask
from journeyman.evaluate.scoring.extract_code import extract
from journeyman.evaluate.scoring.mutants import mutants_of, stub_of
from journeyman.evaluate.scoring.run_checks import CheckCode, checked, judged, said
from journeyman.events import Progress, ProgressEnded, Reporter
from journeyman.records import Answer

LEAVES = "import os\nos._exit(0)\n"
"""Ends with success before any check ran."""
MUTANTS = 5
"""Each is a run of all checks of its task, so few of them, spread over the whole answer."""


class CheckTrustTotals(Struct, frozen=True):
    """What the canaries of all tasks that have checks came to; empty where nothing was run."""

    tried: tuple[CheckTrust, ...] = ()

    @property
    def excluded(self) -> tuple[ExcludedTask, ...]:
        """The tasks that do not count."""
        return tuple(
            ExcludedTask(one.task, one.failed, one.detail) for one in self.tried if one.failed
        )

    def counted(self, tasks: Sequence[EvaluationTask]) -> tuple[EvaluationTask, ...]:
        """The tasks with the checks of those that are excluded taken away."""
        return without_checks(tasks, self.excluded)

    def reference(self, tasks: Sequence[EvaluationTask]) -> Rung | None:
        """S4 of the rows' own answers; None where nothing was run."""
        own = {one.task: one.own for one in self.tried}
        planned = [task for task in tasks if task.id in own and task.checks]
        items = [_own_item(task, own[task.id]) for task in planned]
        return rungs(planned, items, ("S4", "S4t"))[0] if planned else None


def without_checks(
    tasks: Sequence[EvaluationTask], excluded: Sequence[ExcludedTask]
) -> tuple[EvaluationTask, ...]:
    """Tasks of which those that are excluded have no check any more, so that S4 leaves them out."""
    out = {one.task for one in excluded}
    return tuple(replace(task, checks=()) if task.id in out else task for task in tasks)


def _own_item(task: EvaluationTask, own: Score) -> ScoredItem:
    strict = extract(task.reference, task.entry_point).strict
    return ScoredItem(Item("base", task.id, Answer(task.reference, "stop")), (own,), strict=strict)


def try_canaries(
    tasks: Sequence[EvaluationTask], check_code: CheckCode | None, report: Reporter
) -> CheckTrustTotals:
    """Run the canaries of every task that has checks; nothing is excluded where nothing runs."""
    planned = [task for task in tasks if task.checks]
    if check_code is None or not planned:
        return CheckTrustTotals()
    tried: list[CheckTrust] = []
    for task in planned:
        tried.append(try_task(task, check_code))
        report(Progress("canaries", len(tried), len(planned), "tasks"))
    found = CheckTrustTotals(tuple(tried))
    sound = len(planned) - len(found.excluded)
    report(ProgressEnded("canaries", f"the checks of {sound} of {len(planned)} tasks are sound"))
    return found


def try_task(task: EvaluationTask, check_code: CheckCode) -> CheckTrust:
    """The canaries of one task, up to the first that does not do as it must."""
    own = own_answer(task, check_code)
    if not own.passed:
        detail = f"{own.code}: {own.detail}".rstrip(": ")
        return CheckTrust(task.id, own, "reference fails", detail)
    if counts("S4t", task):
        # The tests have failed on a stub; without a mutant nothing more can be known of others.
        return CheckTrust(task.id, own, "" if own.of else "no mutants")
    code = extract(task.reference, task.entry_point).code
    for name, canary in (("stub passes", stub_of(code)), ("leaving passes", LEAVES)):
        results = [check_code(canary, check) for check in task.checks]
        if all(result.passed for result in results):
            return CheckTrust(task.id, own, name, said(results[-1]))
    return _try_mutants(task, own, code, check_code)


def own_answer(task: EvaluationTask, check_code: CheckCode) -> Score:
    """S4, or S4t, of the answer that the row itself holds."""
    extraction = extract(task.reference, task.entry_point)
    if counts("S4t", task):
        return judged(extraction, task.checks, check_code)
    return checked(extraction, task.checks, check_code)


def _try_mutants(task: EvaluationTask, own: Score, code: str, check_code: CheckCode) -> CheckTrust:
    mutants = mutants_of(code, MUTANTS)
    refused = sum(
        any(not check_code(mutant, check).passed for check in task.checks) for mutant in mutants
    )
    failed = "" if enough(refused, len(mutants)) else "mutants pass"
    detail = f"{refused} of {len(mutants)} mutants refused" if failed else ""
    return CheckTrust(task.id, own, failed, detail, len(mutants), refused)


def enough(refused: int, mutants: int) -> bool:
    """Whether checks see enough: 80 % of the mutants, and of fewer than five all but one.

    One may do the same as the original, which no check can see; where there is one alone, it must
    be refused. Code in which nothing can be changed is not held against its check.
    """
    return refused >= min(1, mutants) and mutants - refused <= max(1, mutants // 5)
