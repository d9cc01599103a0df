"""Running an answer's code: by itself (S3), and against the checks of its task (S4)."""

from collections.abc import Callable, Sequence

from journeyman.evaluate.extract import Extraction
from journeyman.evaluate.scored import RungId, Score
from journeyman.records import Check
from journeyman.sandbox.checks import CheckResult

DETAIL_LIMIT = 500

CheckCode = Callable[[str, Check], CheckResult]
"""Runs one check against code, in the sandbox."""

LOADS = Check("assert", "assert True", n=1)
"""What any code passes that compiles, imports and executes to its end."""


def no_code(rung: RungId, extraction: Extraction) -> Score:
    """The score of an answer in which there is nothing to run."""
    code = "syntax" if extraction.rule == "broken_block" else extraction.rule
    return Score(rung, passed=False, code=code)


def not_executed(rung: RungId) -> Score:
    """The score where there is nothing to run it in: nothing is claimed."""
    return Score(rung, passed=None, code="not_executed", detail="no sandbox")


def checked(
    extraction: Extraction,
    checks: Sequence[Check],
    check_code: CheckCode | None,
    rung: RungId = "S4",
) -> Score:
    """S4: the code passes every check. Without a sandbox it is not run, and nothing is claimed."""
    if check_code is None:
        return not_executed(rung)
    if not extraction.parses:
        return no_code(rung, extraction)
    for check in checks:
        result = check_code(extraction.code, check)
        if not result.passed:
            return Score(rung, passed=False, code=result.failure or "failed", detail=said(result))
    return Score(rung, passed=True)


def said(result: CheckResult) -> str:
    """How far a check came, and what it said."""
    ran = f"{result.ran} of {result.expected} ran"
    return (f"{ran}: {result.detail}" if result.detail else ran)[:DETAIL_LIMIT]
