"""From answers to scores. Code is executed here and nowhere else, in the sandbox, after all
answers are there, one check at a time: a machine that runs checks is no machine to time answers on.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.evaluate.executing import LOADS, CheckCode
from journeyman.evaluate.ladder import score as by_ladder
from journeyman.evaluate.scored import CODE_AGENTS, EvaluationTask, Item, ScoredItem
from journeyman.events import Note, Progress, ProgressEnded, Reporter
from journeyman.records import Check
from journeyman.sandbox import Sandbox
from journeyman.sandbox.checks import CheckResult, run_check
from journeyman.sandbox.selftest import SelfTest, no_sandbox, tested
from journeyman.sandbox.staging import pytest_folders
from journeyman.settings import SandboxProfile

ScoreItem = Callable[[Item, EvaluationTask], ScoredItem]
"""Judges one answer to one task."""


class Checker(Struct, frozen=True):
    """What runs code, None where none is wanted or had, and the self test that says so."""

    run: CheckCode | None
    self_test: SelfTest

    @property
    def profile(self) -> str:
        """The sandbox's profile, `none` where code is not run."""
        return self.self_test.profile if self.run is not None else "none"


def find_checker(
    tasks: Sequence[EvaluationTask], report: Reporter, *, profile: SandboxProfile
) -> Checker:
    """A sandbox of this profile and of no other, after it held against the short self test."""
    if not any(task.checks or task.agent in CODE_AGENTS for task in tasks):
        return Checker(None, no_sandbox("no task has code to run"))
    if profile == "none":
        report(Note("generated code is not run: `--sandbox none`"))
        return Checker(None, no_sandbox("none was wanted"))
    sandbox, result = tested(profile, report, short=True)
    return Checker(None if sandbox is None else partial(_check, sandbox), result)


def _check(sandbox: Sandbox, code: str, check: Check) -> CheckResult:
    """One check. Tests that are only loaded may import pytest; an answer is run without it."""
    packages: tuple[Path, ...] = ()
    if check == LOADS and "pytest" in code:
        # Where it is not installed, the import fails and the score says so.
        with contextlib.suppress(MachineError):
            packages = tuple(pytest_folders().values())
    return run_check(sandbox, code, check, packages=packages)


def score_all(
    items: Sequence[Item],
    tasks: Sequence[EvaluationTask],
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
