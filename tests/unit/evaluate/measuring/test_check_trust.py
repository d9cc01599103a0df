"""A check counts only if it tells right from wrong code."""

import ast

from journeyman.evaluate.measuring.check_trust import (
    counted_tasks,
    enough,
    excluded_tasks,
    reference_rung,
    try_checks,
)
from journeyman.evaluate.records.scores import EvaluationTask
from journeyman.evaluate.scoring.mutants import stub_of
from journeyman.events import ignore
from journeyman.records import Check, Message
from journeyman.sandbox.check_result import CheckResult
from journeyman.sandbox.checks import run_check
from tests.sandboxes import sandbox
from tests.waiting import HANG_S

RIGHT = "```python\ndef double(x):\n    return 2 * x\n```\n"
DOUBLES = Check("assert", "assert double(2) == 4", 1, entry_point="double")
CALLABLE = Check("assert", "assert callable(double)", 1, entry_point="double")


def task(name: str, check: Check, reference: str = RIGHT) -> EvaluationTask:
    return EvaluationTask(name, name, "coder", None, (Message("user", name),), (check,), reference)


def in_sandbox(code: str, check: Check) -> CheckResult:
    return run_check(sandbox(), code, check, timeout_s=HANG_S)


def test_checks_that_prove_nothing_are_excluded_and_listed() -> None:
    wrong = RIGHT.replace("2 *", "3 *")
    tasks = [task("sound", DOUBLES), task("weak", CALLABLE), task("wrong", DOUBLES, wrong)]
    found = try_checks(tasks, in_sandbox, ignore)
    assert [(one.task, one.canary) for one in excluded_tasks(found)] == [
        ("weak", "stub passes"),
        ("wrong", "reference fails"),
    ]
    assert [len(left.checks) for left in counted_tasks(tasks, found)] == [1, 0, 0]
    reference = reference_rung(tasks, found)
    assert reference is not None
    assert reference.rate is not None
    assert (reference.rate.k, reference.rate.n) == (2, 3)


def test_a_check_that_code_can_exit_before_is_excluded() -> None:
    def by_exit_code(code: str, check: Check) -> CheckResult:
        return CheckResult(1, 1, "mismatch" if "pass" in code else "")

    found = try_checks([task("fooled", DOUBLES)], by_exit_code, ignore)
    assert [one.canary for one in excluded_tasks(found)] == ["leaving passes"]


def test_without_a_sandbox_nothing_is_excluded() -> None:
    tasks = [task("any", CALLABLE)]
    found = try_checks(tasks, None, ignore)
    assert found == ()
    assert reference_rung(tasks, found) is None


BRANCHES = """```python
def sign(x, scale=1):
    if x < 0:
        return -scale
    if x > 0:
        return scale
    return 0
```
"""


def test_a_check_that_sees_too_few_wrong_versions_is_excluded() -> None:
    seen = "assert sign(3) == 1\nassert sign(-3) == -1\nassert sign(0) == 0\n"
    tasks = [
        task("all", Check("assert", seen, 3, entry_point="sign"), BRANCHES),
        task("few", Check("assert", "assert sign(3) == 1", 1, entry_point="sign"), BRANCHES),
    ]
    found = try_checks(tasks, in_sandbox, ignore)
    assert [(one.task, one.canary) for one in excluded_tasks(found)] == [("few", "mutants pass")]
    assert [one.mutants for one in found] == [5, 5]
    assert "of 5 mutants refused" in excluded_tasks(found)[0].detail


def test_of_five_mutants_four_must_be_refused_and_one_may_be_no_mutant() -> None:
    assert [enough(refused, 5) for refused in range(6)] == [False] * 4 + [True] * 2
    assert [enough(refused, 2) for refused in range(3)] == [False, True, True]
    assert [enough(0, 0), enough(0, 1), enough(1, 1)] == [True, False, True]
    assert [enough(refused, 12) for refused in (9, 10)] == [False, True]


def test_a_stub_keeps_names_and_signatures_only() -> None:
    code = "class A:\n    limit = 3\n    def f(self, x=1):\n        return x\nasync def g(): 2\n"
    tree = ast.parse(stub_of(code))
    assert ast.unparse(tree) == (
        "class A:\n    limit = 3\n\n    def f(self, x=1):\n        pass\n\nasync def g():\n    pass"
    )
