"""A check that is a file of pytest tests: they run in one sandbox, the answer in another.

The tests' process holds stand-ins for the answer's functions and classes
(`inside/remote_tests.py`); each call travels out here and on to the answer's process
(`inside/answer_calls.py`), and what comes back is data. So pytest, its counts and its exit code are
out of the answer's reach, and an object that equals everything equals nothing over there.
Not covered: tests that patch the answer's module, hand it functions, or ask its objects for
equality, truth or arithmetic; such a task fails on its own reference.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from journeyman.errors import MachineError
from journeyman.records import Check
from journeyman.sandbox.check_steps import NoTests, raised
from journeyman.sandbox.launch import helper
from journeyman.sandbox.mounted_files import pytest_folders
from journeyman.sandbox.outcome import CheckOutcome, begin, load
from journeyman.sandbox.sandbox import Sandbox
from journeyman.sandbox.session import SandboxSession, SessionEnded
from journeyman.sandbox.values import Malformed, decoded


def run_file_of_tests(
    sandbox: Sandbox, code: str, check: Check, timeout_s: float, folders: Mapping[str, Path]
) -> CheckOutcome:
    """Run the tests. Raises NoTests where the check can prove nothing."""
    module = module_of(check)
    if check.n < 1:
        raise NoTests("the check promises no test")
    try:
        tools = pytest_folders()
    except MachineError as error:
        raise NoTests(error.message) from error
    answers = SandboxSession(sandbox, timeout_s=timeout_s, packages=folders)
    tests = SandboxSession(sandbox, timeout_s=timeout_s, packages={**folders, **tools})
    try:
        with answers, tests:
            begin(answers)
            load(answers, check.setup, "the check's setup: ")
            load(answers, code)
            begin(tests)
            return _tested(tests, answers, check, module)
    except SessionEnded as ended:
        return CheckOutcome(0, check.n, ended.failure, ended.detail)


def module_of(check: Check) -> str:
    """The name under which the tests import the answer. Raises NoTests."""
    module = check.file.removesuffix(".py")
    if not re.fullmatch(r"[A-Za-z_]\w*", module) or module in ("pytest", "test_answer"):
        raise NoTests(f"`{check.file[:80]}` is no file name of a module")
    return module


def _tested(
    tests: SandboxSession, answers: SandboxSession, check: Check, module: str
) -> CheckOutcome:
    answers.ask("install", helper("answer_calls"))
    installed = tests.ask("install", helper("remote_tests"))
    if installed.raised:
        raise SessionEnded("sandbox", f"pytest does not start: {installed.message.strip()}")
    request = {"module": module, "source": check.source, "folder": tests.layout.scratch}
    text = msgspec.json.encode(request).decode()
    reply = tests.ask("invoke", text, relay=partial(_relayed, answers))
    if reply.raised:
        failure, detail = raised(reply)
        return CheckOutcome(0, check.n, failure, detail)
    try:
        found = msgspec.convert(decoded(reply.value), tuple[int, int, int, int, str])
    except (Malformed, msgspec.ValidationError) as error:
        raise SessionEnded("sandbox", f"a damaged result of the tests: {error}") from error
    return _judged(*found, wanted=check.n)


def _relayed(answers: SandboxSession, call: str) -> bytes:
    """Carry one call of the tests over to the answer. Raises Ended where that process fails."""
    reply = answers.ask("invoke", call)
    if reply.raised:
        failure, detail = raised(reply)
        raise SessionEnded(failure, detail)
    return bytes(reply.value)


def _judged(
    code: int, passed: int, failed: int, skipped: int, first: str, *, wanted: int
) -> CheckOutcome:
    """A test that was skipped has shown nothing; too few that passed are no pass."""
    if failed:
        return CheckOutcome(passed, wanted, "assert", f"{failed} tests failed; the first: {first}")
    if passed < wanted:
        what = f"{passed} tests passed and {skipped} were skipped, {wanted} were promised"
        return CheckOutcome(passed, wanted, "no-tests", what)
    if code != 0:
        return CheckOutcome(passed, wanted, "error", f"pytest ended with code {code}")
    return CheckOutcome(passed, wanted)
