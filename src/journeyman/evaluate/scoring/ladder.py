"""The rungs of one answer, each judged by itself: served, finished, form, runs, passes its checks.

S1 to S4 need an answer (S0) and nothing else of each other: an answer that was cut off after
correct code fails S1 and may pass S4. S3 is for agents whose answer is code.

From answers to scores. Code is executed here and nowhere else, in the sandbox, after all
answers are there, one check at a time: a machine that runs checks is no machine to time answers on.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from journeyman.data.markdown import has_open_fence
from journeyman.errors import MachineError
from journeyman.evaluate.records.scores import (
    CODE_AGENTS,
    EvaluationTask,
    Item,
    Score,
    ScoredItem,
    counts,
    decode_rate,
)
from journeyman.evaluate.scoring.extract_code import Extraction, after_thinking, extract
from journeyman.evaluate.scoring.run_checks import DETAIL_LIMIT, LOADS, CheckCode, checked, judged
from journeyman.evaluate.scoring.well_formed import form
from journeyman.events import Note, Progress, ProgressEnded, Reporter
from journeyman.records import Answer, Check
from journeyman.sandbox import Sandbox
from journeyman.sandbox.check_result import CheckResult
from journeyman.sandbox.checks import run_check
from journeyman.sandbox.mounts import pytest_mounts
from journeyman.sandbox.selftest import SelfTest, find_tested_sandbox, no_sandbox
from journeyman.settings import SandboxProfile

LOOP_WORDS = 8

LOOP_REPEATS = 6

SHORTEST_TEXT = 40


def score_item(item: Item, task: EvaluationTask, check_code: CheckCode | None) -> ScoredItem:
    """All rungs of one item. check_code None: no sandbox, S3 and S4 are not measured."""
    answer = item.answer
    extraction = extract(answer.text, task.entry_point)
    scores = [served(answer)]
    if scores[0].passed:
        scores += [finished(answer, extraction), form(task, answer.text, extraction)]
    else:
        scores += [Score("S1", passed=False, code="not_served")]
        scores += [Score("S2", passed=False, code="not_served")]
    if counts("S3", task):
        scores.append(checked(extraction, (LOADS,), check_code, rung="S3"))
    if counts("S4", task):
        scores.append(checked(extraction, task.checks, check_code))
    if counts("S4t", task):
        scores.append(judged(extraction, task.checks, check_code))
    return ScoredItem(
        item=item,
        scores=tuple(scores),
        code=extraction.code,
        extract_rule=extraction.rule if scores[0].passed else "",
        strict=extraction.strict and bool(scores[0].passed),
        tokens_per_s=decode_rate(answer),
    )


def served(answer: Answer) -> Score:
    """S0: something came back."""
    if answer.finish == "error":
        return Score("S0", passed=False, code="error", detail=answer.error[:DETAIL_LIMIT])
    if not answer.text.strip():
        return Score("S0", passed=False, code="empty")
    return Score("S0", passed=True)


def finished(answer: Answer, extraction: Extraction) -> Score:
    """S1: the model came to its end, outside of its reasoning, without losing itself."""
    spoken = after_thinking(answer.text)
    text = spoken or ""
    faults = {
        "limit": answer.finish == "length",
        "open_think": spoken is None,
        "no_answer": not text.strip(),
        "open_fence": has_open_fence(text),
        "repetition": repeats_itself(text),
        "unclean_text": "\ufffd" in text,
        # Code may be as short as it likes.
        "too_short": not extraction.code and len(text.strip()) < SHORTEST_TEXT,
    }
    code = next((code for code, found in faults.items() if found), "")
    return Score("S1", passed=not code, code=code)


def repeats_itself(text: str) -> bool:
    """True where eight words in a row occur more than six times."""
    words = text.split()
    runs = (tuple(words[i : i + LOOP_WORDS]) for i in range(len(words) - LOOP_WORDS + 1))
    return any(count > LOOP_REPEATS for count in Counter(runs).values())


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
    sandbox, result = find_tested_sandbox(profile, report, short=True)
    return Checker(None if sandbox is None else partial(_check, sandbox), result)


def _check(sandbox: Sandbox, code: str, check: Check) -> CheckResult:
    """One check. Tests that are only loaded may import pytest; an answer is run without it."""
    packages: tuple[Path, ...] = ()
    if check == LOADS and "pytest" in code:
        # Where it is not installed, the import fails and the score says so.
        with contextlib.suppress(MachineError):
            packages = tuple(pytest_mounts().values())
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
    judge = score or (lambda item, task: score_item(item, task, check_code))
    by_id = {task.id: task for task in tasks}
    found: list[ScoredItem] = []
    for item in items:
        found.append(judge(item, by_id[item.task]))
        report(Progress("scores", len(found), len(items), "answers"))
    report(ProgressEnded("scores", f"{len(found)} answers scored"))
    return found
