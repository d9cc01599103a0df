"""Check trust: does a task's check tell right from wrong code? Tried before the check counts.

The reference answer must pass; the same answer with empty bodies must fail, and so must code that
exits before its checks, and four of five mutants of the answer. A task whose check fails one of
these trials is left out of S4 and listed.
Not covered: a wrong reference answer that its check lets pass; how many mutants the reference
answer finds if it is itself tests (S4t counts that).
"""

from collections.abc import Sequence

from msgspec.structs import replace

from journeyman.evaluate.measuring.rates import rungs
from journeyman.evaluate.records.scores import (
    EvaluationTask,
    Item,
    Rung,
    Score,
    ScoredItem,
    counts,
)
from journeyman.evaluate.records.suites import CheckTrust, ExcludedTask
from journeyman.evaluate.scoring.extract_code import extract
from journeyman.evaluate.scoring.mutants import mutants_of, stub_of
from journeyman.evaluate.scoring.run_checks import CheckCode, detail_of, score_checks, score_tests
from journeyman.events import Progress, ProgressEnded, Reporter
from journeyman.records import Answer

EXITS_EARLY = "import os\nos._exit(0)\n"
"""Ends with success before any check ran."""
MUTANTS = 5
"""Each one runs all checks of its task, so there are few, spread over the whole answer."""


def try_checks(
    tasks: Sequence[EvaluationTask], check_code: CheckCode | None, report: Reporter
) -> tuple[CheckTrust, ...]:
    """The trust in the checks of every task that has some; empty if no code can be run."""
    planned = [task for task in tasks if task.checks]
    if check_code is None or not planned:
        return ()
    tried: list[CheckTrust] = []
    for task in planned:
        tried.append(_try_task(task, check_code))
        report(Progress("check trust", len(tried), len(planned), "tasks"))
    trusted = sum(not one.failed for one in tried)
    summary = f"the checks of {trusted} of {len(planned)} tasks tell right from wrong code"
    report(ProgressEnded("check trust", summary))
    return tuple(tried)


def excluded_tasks(tried: Sequence[CheckTrust]) -> tuple[ExcludedTask, ...]:
    """The tasks that S4 leaves out."""
    return tuple(ExcludedTask(one.task, one.failed, one.detail) for one in tried if one.failed)


def counted_tasks(
    tasks: Sequence[EvaluationTask], tried: Sequence[CheckTrust]
) -> tuple[EvaluationTask, ...]:
    """All tasks; those whose checks cannot be trusted have none any more, so S4 skips them."""
    excluded = {one.task for one in tried if one.failed}
    return tuple(replace(task, checks=()) if task.id in excluded else task for task in tasks)


def reference_rung(tasks: Sequence[EvaluationTask], tried: Sequence[CheckTrust]) -> Rung | None:
    """S4 of the reference answers; None if no check was run."""
    scores = {one.task: one.own for one in tried}
    planned = [task for task in tasks if task.id in scores and task.checks]
    answers = [_reference_item(task, scores[task.id]) for task in planned]
    return rungs(planned, answers, ("S4", "S4t"))[0] if planned else None


def _reference_item(task: EvaluationTask, score: Score) -> ScoredItem:
    strict = extract(task.reference, task.entry_point).strict
    item = Item("base", task.id, Answer(task.reference, "stop"))
    return ScoredItem(item, (score,), strict=strict)


def _try_task(task: EvaluationTask, check_code: CheckCode) -> CheckTrust:
    """The trials of one task, up to the first that fails."""
    own = _reference_score(task, check_code)
    if not own.passed:
        detail = f"{own.code}: {own.detail}".rstrip(": ")
        return CheckTrust(task.id, own, "reference fails", detail)
    if counts("S4t", task):
        # The tests have failed on a stub; without a mutant nothing shows that they find mistakes.
        return CheckTrust(task.id, own, "" if own.of else "no mutants")
    code = extract(task.reference, task.entry_point).code
    for failure, wrong in (("stub passes", stub_of(code)), ("leaving passes", EXITS_EARLY)):
        results = [check_code(wrong, check) for check in task.checks]
        if all(result.passed for result in results):
            return CheckTrust(task.id, own, failure, detail_of(results[-1]))
    return _try_mutants(task, own, code, check_code)


def _reference_score(task: EvaluationTask, check_code: CheckCode) -> Score:
    """S4, or S4t, of the reference answer."""
    extraction = extract(task.reference, task.entry_point)
    if counts("S4t", task):
        return score_tests(extraction, task.checks, check_code)
    return score_checks(extraction, task.checks, check_code)


def _try_mutants(task: EvaluationTask, own: Score, code: str, check_code: CheckCode) -> CheckTrust:
    mutants = mutants_of(code, MUTANTS)
    refused = sum(
        any(not check_code(mutant, check).passed for check in task.checks) for mutant in mutants
    )
    failed = "" if enough(refused, len(mutants)) else "mutants pass"
    detail = f"{refused} of {len(mutants)} mutants refused" if failed else ""
    return CheckTrust(task.id, own, failed, detail, len(mutants), refused)


def enough(refused: int, mutants: int) -> bool:
    """Whether checks refuse enough: 80 % of the mutants, and all but one of fewer than five.

    One mutant may behave like the original, which no check can see; if there is only one, it must
    be refused. Code without anything to change is not held against its check.
    """
    return refused >= min(1, mutants) and mutants - refused <= max(1, mutants // 5)
