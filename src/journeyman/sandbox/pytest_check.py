"""A check that is a file of pytest tests: the tests run in one sandbox, the answer in another.

The tests' process has proxies of the answer's functions and classes (`inside/remote_tests.py`).
Each call goes through this process to the answer's (`inside/answer_calls.py`), and data comes back.
So the answer cannot reach pytest, its counts and its exit code, and an object that equals
everything equals nothing in the tests' process.
Not covered: tests that patch the answer's module, pass functions to it, or ask its objects for
equality, truth or arithmetic; such a task fails on its own reference.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from journeyman.errors import MachineError
from journeyman.records import Check
from journeyman.sandbox.check_result import CheckResult, load, start
from journeyman.sandbox.check_steps import NoTests, failure_of
from journeyman.sandbox.launch import source_of
from journeyman.sandbox.mounts import pytest_mounts
from journeyman.sandbox.sandbox import Sandbox
from journeyman.sandbox.session import SandboxSession, SessionEnded
from journeyman.sandbox.tagged_values import Malformed, value_of


def run_pytest(
    sandbox: Sandbox, code: str, check: Check, timeout_s: float, mounts: Mapping[str, Path]
) -> CheckResult:
    """Run the tests. Raises NoTests if the check can prove nothing."""
    module = module_of(check)
    if check.n < 1:
        raise NoTests("the check has no test")
    try:
        tools = pytest_mounts()
    except MachineError as error:
        raise NoTests(error.message) from error
    answers = SandboxSession(sandbox, timeout_s=timeout_s, packages=mounts)
    tests = SandboxSession(sandbox, timeout_s=timeout_s, packages={**mounts, **tools})
    try:
        with answers, tests:
            start(answers)
            load(answers, check.setup, "the check's setup: ")
            load(answers, code)
            start(tests)
            return _run_tests(tests, answers, check, module)
    except SessionEnded as ended:
        return CheckResult(0, check.n, ended.failure, ended.detail)


def module_of(check: Check) -> str:
    """The name under which the tests import the answer. Raises NoTests."""
    module = check.file.removesuffix(".py")
    if not re.fullmatch(r"[A-Za-z_]\w*", module) or module in ("pytest", "test_answer"):
        raise NoTests(f"`{check.file[:80]}` is not a file name of a module")
    return module


def _run_tests(
    tests: SandboxSession, answers: SandboxSession, check: Check, module: str
) -> CheckResult:
    answers.ask("install", source_of("answer_calls"))
    installed = tests.ask("install", source_of("remote_tests"))
    if installed.raised:
        raise SessionEnded("sandbox", f"pytest does not start: {installed.message.strip()}")
    request = {"module": module, "source": check.source, "folder": tests.layout.scratch}
    text = msgspec.json.encode(request).decode()
    reply = tests.ask("invoke", text, relay=partial(_relay, answers))
    if reply.raised:
        failure, detail = failure_of(reply)
        return CheckResult(0, check.n, failure, detail)
    try:
        counts = msgspec.convert(value_of(reply.value), tuple[int, int, int, int, str])
    except (Malformed, msgspec.ValidationError) as error:
        raise SessionEnded("sandbox", f"a damaged result of the tests: {error}") from error
    return _result(*counts, expected=check.n)


def _relay(answers: SandboxSession, call: str) -> bytes:
    """Forward one call of the tests to the answer. Raises SessionEnded if that process fails."""
    reply = answers.ask("invoke", call)
    if reply.raised:
        failure, detail = failure_of(reply)
        raise SessionEnded(failure, detail)
    return bytes(reply.value)


def _result(
    code: int, passed: int, failed: int, skipped: int, first: str, *, expected: int
) -> CheckResult:
    """The result from pytest's counts. A skipped test proves nothing."""
    if failed:
        return CheckResult(passed, expected, "assert", f"{failed} tests failed; the first: {first}")
    if passed < expected:
        detail = f"{passed} tests passed and {skipped} were skipped, {expected} must pass"
        return CheckResult(passed, expected, "no-tests", detail)
    if code != 0:
        return CheckResult(passed, expected, "error", f"pytest ended with code {code}")
    return CheckResult(passed, expected)
