"""A check counts only where it tells a right answer from a wrong one."""

import ast

from journeyman.evaluate.canaries import try_canaries
from journeyman.evaluate.scored import Task
from journeyman.evaluate.stubs import stub_of
from journeyman.events import ignore
from journeyman.records import Check, Message
from journeyman.sandbox.checks import CheckResult, run_check
from tests.sandboxes import sandbox

RIGHT = "```python\ndef double(x):\n    return 2 * x\n```\n"
DOUBLES = Check("assert", "assert double(2) == 4", 1, entry_point="double")
CALLABLE = Check("assert", "assert callable(double)", 1, entry_point="double")


def task(name: str, check: Check, reference: str = RIGHT) -> Task:
    return Task(name, name, "coder", None, (Message("user", name),), (check,), reference)


def in_sandbox(code: str, check: Check) -> CheckResult:
    return run_check(sandbox(), code, check)


def test_checks_that_prove_nothing_are_excluded_and_listed() -> None:
    wrong = RIGHT.replace("2 *", "3 *")
    tasks = [task("sound", DOUBLES), task("weak", CALLABLE), task("wrong", DOUBLES, wrong)]
    found = try_canaries(tasks, in_sandbox, ignore)
    assert [(one.task, one.canary) for one in found.excluded] == [
        ("weak", "stub passes"),
        ("wrong", "reference fails"),
    ]
    assert [len(left.checks) for left in found.counted(tasks)] == [1, 0, 0]
    assert found.reference is not None
    assert found.reference.rate is not None
    assert (found.reference.rate.k, found.reference.rate.n) == (2, 3)


def test_a_check_that_code_can_leave_early_is_excluded() -> None:
    def by_exit_code(code: str, check: Check) -> CheckResult:
        return CheckResult(passed="pass" not in code, ran=1, expected=1)

    found = try_canaries([task("fooled", DOUBLES)], by_exit_code, ignore)
    assert [one.canary for one in found.excluded] == ["leaving passes"]


def test_without_a_sandbox_nothing_is_excluded() -> None:
    found = try_canaries([task("any", CALLABLE)], None, ignore)
    assert (found.reference, found.excluded) == (None, ())


def test_a_stub_keeps_names_and_signatures_only() -> None:
    code = "class A:\n    limit = 3\n    def f(self, x=1):\n        return x\nasync def g(): 2\n"
    tree = ast.parse(stub_of(code))
    assert ast.unparse(tree) == (
        "class A:\n    limit = 3\n\n    def f(self, x=1):\n        pass\n\nasync def g():\n    pass"
    )
