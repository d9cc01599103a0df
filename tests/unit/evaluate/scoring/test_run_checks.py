"""Tests must tell right code from empty code and from slightly wrong code."""

import pytest

from journeyman.evaluate.measuring.check_trust import excluded_tasks, try_checks
from journeyman.evaluate.records.scores import EvaluationTask, Score
from journeyman.evaluate.scoring.extract_code import extract
from journeyman.evaluate.scoring.run_checks import score_tests, with_imports
from journeyman.events import ignore
from journeyman.records import Check, Message
from journeyman.sandbox.check_result import CheckResult
from journeyman.sandbox.checks import run_check
from tests.sandboxes import sandbox
from tests.waiting import HANG_S

RIGHT = "def larger(a, b):\n    if a > b:\n        return a\n    return b\n"
IMPORT = "from larger import larger\n"
REFERENCE = Check("reference", RIGHT, 1, file="larger.py")
GOOD = """
import pytest
from calculator import larger

@pytest.mark.parametrize(("a", "b", "wanted"), [(1, 2, 2), (2, 1, 2), (-1, -2, -1)])
def test_larger(a, b, wanted):
    assert larger(a, b) == wanted
"""


def in_sandbox(code: str, check: Check) -> CheckResult:
    return run_check(sandbox(), code, check, timeout_s=HANG_S)


def judgement(tests: str) -> Score:
    return score_tests(extract(f"```python\n{tests}\n```"), (REFERENCE,), in_sandbox)


def test_tests_that_tell_right_from_wrong_pass_and_find_the_mutants() -> None:
    found = judgement(GOOD)
    assert (found.passed, found.code) == (True, "")
    # `>=` for `>` gives the same for equal numbers: no test can find that one.
    assert found.of >= 4
    assert found.found == found.of - 1


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        (IMPORT + "def test_a():\n    assert larger(1, 2) == 1\n", "fails_reference"),
        (IMPORT + "def test_a():\n    assert callable(larger)\n", "passes_stub"),
        (RIGHT + "def test_a():\n    assert larger(1, 2) == 2\n", "passes_stub"),
        (IMPORT + "assert larger(1, 2) == 2\n", "no-tests"),
        ("def test_a(:\n", "syntax"),
    ],
)  # fmt: skip
def test_tests_that_prove_nothing_fail_with_their_reason(tests: str, code: str) -> None:
    found = judgement(tests)
    assert (found.passed, found.code) == (False, code)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("from x.y import larger", "from larger import larger"),
        ("from .x import larger as big", "from larger import larger as big"),
        ("from x import other", "from x import other"),
        ("import pytest, math", "import pytest, math"),
        ("import x as y", "import larger as y"),
        ("larger(1, 2)", "from larger import larger\nlarger(1, 2)"),
        ("def larger(): pass", "def larger():\n    pass"),
    ],
)
def test_imports_of_what_is_not_there_are_taken_for_the_implementation(
    written: str, wanted: str
) -> None:
    assert with_imports(written, "larger", frozenset({"larger"})) == wanted


def test_a_tester_task_whose_own_tests_prove_nothing_is_excluded() -> None:
    def task(name: str, tests: str) -> EvaluationTask:
        answer = f"```python\n{tests}\n```"
        return EvaluationTask(
            name, name, "tester", None, (Message("user", name),), (REFERENCE,), answer
        )

    weak = IMPORT + "def test_a():\n    assert callable(larger)\n"
    tried = try_checks([task("sound", GOOD), task("weak", weak)], in_sandbox, ignore)
    excluded = [(one.task, one.canary) for one in excluded_tasks(tried)]
    assert excluded == [("weak", "reference fails")]
