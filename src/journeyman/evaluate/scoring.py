"""From answers to scores. Code is executed here and nowhere else, in the sandbox, after all
answers are there, one check at a time: a machine that runs checks is no machine to time answers on.
"""

from collections.abc import Sequence
from functools import partial

from journeyman.evaluate.extract import extract
from journeyman.evaluate.ladder import CheckCode, checked, score
from journeyman.evaluate.measures import rungs
from journeyman.evaluate.records import Item, Rung, Score, ScoredItem, Task
from journeyman.events import Note, Progress, ProgressEnded, Reporter
from journeyman.records import Answer
from journeyman.sandbox import find_sandbox
from journeyman.sandbox.checks import run_check


def find_checker(tasks: Sequence[Task], report: Reporter, *, wanted: bool) -> CheckCode | None:
    """What runs checks in a sandbox that has proved itself; None where none is wanted or had."""
    if not any(task.checks for task in tasks):
        return None
    if not wanted:
        report(Note("checks are not run: `--no-sandbox`"))
        return None
    sandbox = find_sandbox(report)
    return None if sandbox is None else partial(run_check, sandbox)


def score_all(
    items: Sequence[Item],
    tasks: Sequence[Task],
    check_code: CheckCode | None,
    report: Reporter,
) -> list[ScoredItem]:
    """Every item with its scores, in order."""
    by_id = {task.id: task for task in tasks}
    found: list[ScoredItem] = []
    for item in items:
        found.append(score(item, by_id[item.task], check_code))
        report(Progress("scores", len(found), len(items), "answers"))
    report(ProgressEnded("scores", f"{len(found)} answers scored"))
    return found


def reference_rung(tasks: Sequence[Task], check_code: CheckCode | None) -> Rung | None:
    """S4 of the rows' own answers, None where it cannot be known.

    Where they fail, it is the check (or what it needs) that is wrong, or the row to learn from.
    """
    planned = [task for task in tasks if task.checks]
    if check_code is None or not planned:
        return None
    scored = [_reference(task, check_code) for task in planned]
    return next(rung for rung in rungs(planned, scored) if rung.id == "S4" and not rung.agent)


def _reference(task: Task, check_code: CheckCode) -> ScoredItem:
    extraction = extract(task.reference, task.entry_point)
    scores: tuple[Score, ...] = (checked(extraction, task.checks, check_code),)
    return ScoredItem("base", task.id, Answer(task.reference, "stop"), scores, extraction.code)
