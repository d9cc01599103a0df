"""From answers to scores. Code is executed here and nowhere else, in the sandbox, after all
answers are there, one check at a time: a machine that runs checks is no machine to time answers on.
"""

from collections.abc import Callable, Sequence
from functools import partial

from journeyman.evaluate.form import CODE_AGENTS
from journeyman.evaluate.ladder import CheckCode
from journeyman.evaluate.ladder import score as by_ladder
from journeyman.evaluate.scored import Item, ScoredItem, Task
from journeyman.events import Note, Progress, ProgressEnded, Reporter
from journeyman.sandbox import find_sandbox
from journeyman.sandbox.checks import run_check

ScoreItem = Callable[[Item, Task], ScoredItem]
"""Judges one answer to one task."""


def find_checker(tasks: Sequence[Task], report: Reporter, *, wanted: bool) -> CheckCode | None:
    """What runs code in a sandbox that has proved itself; None where none is wanted or had."""
    if not any(task.checks or task.agent in CODE_AGENTS for task in tasks):
        return None
    if not wanted:
        report(Note("generated code is not run: `--no-sandbox`"))
        return None
    sandbox = find_sandbox(report)
    return None if sandbox is None else partial(run_check, sandbox)


def score_all(
    items: Sequence[Item],
    tasks: Sequence[Task],
    check_code: CheckCode | None,
    report: Reporter,
    *,
    score: ScoreItem | None = None,
) -> list[ScoredItem]:
    """Every item with its scores, in order. score: how one is judged, by default by the ladder."""
    judge = score or (lambda item, task: by_ladder(item, task, check_code))
    by_id = {task.id: task for task in tasks}
    found: list[ScoredItem] = []
    for item in items:
        found.append(judge(item, by_id[item.task]))
        report(Progress("scores", len(found), len(items), "answers"))
    report(ProgressEnded("scores", f"{len(found)} answers scored"))
    return found
