"""The rungs of one answer, each scored on its own: served, finished, form, runs, passes its checks.

S1 to S4 need an answer (S0) but not each other: an answer that was cut off after correct code fails
S1 and may pass S4. S3 is for agents whose answer is code.
Code is executed only here, in the sandbox, one check at a time, after all answers are there: a
machine that runs checks cannot time answers.
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
from journeyman.evaluate.scoring.run_checks import (
    DETAIL_LIMIT,
    LOADS,
    CheckCode,
    score_checks,
    score_tests,
)
from journeyman.evaluate.scoring.well_formed import score_form
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
    scores = [score_served(answer)]
    if scores[0].passed:
        scores += [score_finished(answer, extraction), score_form(task, answer.text, extraction)]
    else:
        scores += [Score("S1", passed=False, code="not_served")]
        scores += [Score("S2", passed=False, code="not_served")]
    if counts("S3", task):
        scores.append(score_checks(extraction, (LOADS,), check_code, rung="S3"))
    if counts("S4", task):
        scores.append(score_checks(extraction, task.checks, check_code))
    if counts("S4t", task):
        scores.append(score_tests(extraction, task.checks, check_code))
    return ScoredItem(
        item=item,
        scores=tuple(scores),
        code=extraction.code,
        extract_rule=extraction.rule if scores[0].passed else "",
        strict=extraction.strict and bool(scores[0].passed),
        tokens_per_s=decode_rate(answer),
    )


def score_served(answer: Answer) -> Score:
    """S0: something came back."""
    if answer.finish == "error":
        return Score("S0", passed=False, code="error", detail=answer.error[:DETAIL_LIMIT])
    if not answer.text.strip():
        return Score("S0", passed=False, code="empty")
    return Score("S0", passed=True)


def score_finished(answer: Answer, extraction: Extraction) -> Score:
    """S1: the model ended its answer itself, outside its reasoning, without repeating itself."""
    outside = after_thinking(answer.text)
    text = outside or ""
    faults = {
        "limit": answer.finish == "length",
        "open_think": outside is None,
        "no_answer": not text.strip(),
        "open_fence": has_open_fence(text),
        "repetition": repeats_itself(text),
        "unclean_text": "\ufffd" in text,
        # Code may be as short as it likes.
        "too_short": not extraction.code and len(text.strip()) < SHORTEST_TEXT,
    }
    code = next((code for code, present in faults.items() if present), "")
    return Score("S1", passed=not code, code=code)


def repeats_itself(text: str) -> bool:
    """Whether the same eight words in a row occur more than six times."""
    words = text.split()
    runs = (tuple(words[i : i + LOOP_WORDS]) for i in range(len(words) - LOOP_WORDS + 1))
    return any(count > LOOP_REPEATS for count in Counter(runs).values())


ScoreItem = Callable[[Item, EvaluationTask], ScoredItem]
"""Scores one answer to one task."""


class Checker(Struct, frozen=True):
    """Runs code in the sandbox, with the sandbox's self test. `run` is None if code is not run."""

    run: CheckCode | None
    self_test: SelfTest

    @property
    def profile(self) -> str:
        """The sandbox's profile, `none` if code is not run."""
        return self.self_test.profile if self.run is not None else "none"


def find_checker(
    tasks: Sequence[EvaluationTask], report: Reporter, *, profile: SandboxProfile
) -> Checker:
    """A sandbox of exactly this profile, after it passed its short self test."""
    if not any(task.checks or task.agent in CODE_AGENTS for task in tasks):
        return Checker(None, no_sandbox("no task has code to run"))
    if profile == "none":
        report(Note("generated code is not run because of `--sandbox none`"))
        return Checker(None, no_sandbox("switched off by `--sandbox none`"))
    sandbox, result = find_tested_sandbox(profile, report, short=True)
    return Checker(None if sandbox is None else partial(_check, sandbox), result)


def _check(sandbox: Sandbox, code: str, check: Check) -> CheckResult:
    """One check. Tests that are only loaded may import pytest; an answer is run without it."""
    packages: tuple[Path, ...] = ()
    if check == LOADS and "pytest" in code:
        # If it is not installed, the import fails and the score says so.
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
    """Every item with its scores, in order. score: how to score one, by default on the ladder."""
    score_one = score or (lambda item, task: score_item(item, task, check_code))
    by_id = {task.id: task for task in tasks}
    scored: list[ScoredItem] = []
    for item in items:
        scored.append(score_one(item, by_id[item.task]))
        report(Progress("scores", len(scored), len(items), "answers"))
    report(ProgressEnded("scores", f"{len(scored)} answers scored"))
    return scored
