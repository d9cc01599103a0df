"""A check that is a shell command in a snapshot of a repository, with the answer as one file.

Each run gets a fresh writable copy in scratch memory, no network, and pytest besides the system's
programs. The exit code is read by a process that the command cannot look into. But the answer runs
in the command's own processes and could end them with code 0, so three trust tests follow:

1. without an answer, the command must fail,
2. with the answer, but every function raises after it has returned, the command must fail,
3. with the answer, but every function raises if its result equals a new object, it must pass.

If an answer exits early, prints a summary, patches the test tool or deletes the tests, the command
passes in test 2 as well and the answer is found out; an object equal to everything is found out by
test 3. Failing test 2 or 3 is the failure `canary`. Not covered: an answer that recognises the
tests and behaves; `CheckResult.acknowledged` is therefore 1.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.records import Check
from journeyman.sandbox.check_result import CheckResult, start
from journeyman.sandbox.check_steps import NoTests, failure_of
from journeyman.sandbox.launch import PACKAGES, source_of
from journeyman.sandbox.mounts import pytest_mounts, snapshot
from journeyman.sandbox.sandbox import MIB, Sandbox
from journeyman.sandbox.session import SandboxSession, SessionEnded
from journeyman.sandbox.tagged_values import Malformed, value_of

SCRATCH_BYTES = 256 * MIB
OPEN_FILES = 256
_SNAPSHOT = "/snapshot"

_WRAP = """

def _journeyman_trust_test(names, after):
    import functools, inspect
    def watched(function):
        @functools.wraps(function)
        def call(*arguments, **named):
            value = function(*arguments, **named)
            after(value)
            return value
        return call
    def wrap(owner, names, module):
        for name, value in list(names.items()):
            if inspect.isfunction(value) and not value.__name__.startswith("_journeyman"):
                if owner is None:
                    names[name] = watched(value)
                elif name != "__eq__":
                    setattr(owner, name, watched(value))
            elif owner is None and inspect.isclass(value) and value.__module__ == module:
                wrap(value, vars(value), module)
    wrap(None, names, names["__name__"])

def _journeyman_fail(value):
    raise AssertionError("trust test")

def _journeyman_probe(value):
    parts = [value, *(value if type(value) in (list, tuple, set) else ())]
    if any((part == object()) is True for part in parts):
        raise AssertionError("trust test: it equals everything")

"""
FAILING = _WRAP + "_journeyman_trust_test(globals(), _journeyman_fail)\n"
"""Appended to an answer: each of its functions runs and then raises."""
PROBING = _WRAP + "_journeyman_trust_test(globals(), _journeyman_probe)\n"
"""Appended to an answer: a function raises if its result equals a new object."""


class CommandRun(Struct, frozen=True):
    """Exit code of one run of the command, and the end of its output."""

    code: int
    text: str


def run_command(
    sandbox: Sandbox, code: str, check: Check, timeout_s: float, mounts: Mapping[str, Path]
) -> CheckResult:
    """Run the command and its trust tests. Raises NoTests if the check can prove nothing."""
    _require_usable(check)
    limits = msgspec.structs.replace(
        sandbox.limits, scratch_bytes=SCRATCH_BYTES, open_files=OPEN_FILES
    )
    enlarged = msgspec.structs.replace(sandbox, limits=limits)
    try:
        copied = snapshot(Path(check.repository), SCRATCH_BYTES // 2)
        all_mounts = {**mounts, **pytest_mounts(), _SNAPSHOT: copied}
    except MachineError as error:
        raise NoTests(error.message) from error

    def run(files: dict[str, str]) -> CommandRun:
        return _run(enlarged, check.source, files, timeout_s, all_mounts)

    try:
        if run({}).code == 0:
            raise NoTests("the command passes without an answer, so it proves nothing")
        answered = run({check.file: code})
        if answered.code != 0:
            detail = f"the command ended with code {answered.code}: {_last(answered.text)}"
            return CheckResult(1, 1, "command", detail)
        if run({check.file: code + FAILING}).code == 0:
            detail = "the command passes even if every function of the answer fails"
            return CheckResult(1, 1, "canary", detail)
        if run({check.file: code + PROBING}).code != 0:
            detail = "the answer returns an object that equals everything"
            return CheckResult(1, 1, "canary", detail)
    except SessionEnded as ended:
        return CheckResult(0, 1, ended.failure, ended.detail)
    return CheckResult(1, 1, acknowledged=1)


def _require_usable(check: Check) -> None:
    """Raise NoTests for a check that cannot be run."""
    path = PurePosixPath(check.file)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in check.file:
        raise NoTests(f"`{check.file[:80]}` is not a path inside the repository")
    if not check.source.strip() or "\0" in check.source:
        raise NoTests("the check has no command")
    if not check.repository:
        raise NoTests("the check names no `repository`")


def _run(
    sandbox: Sandbox, line: str, files: dict[str, str], timeout_s: float, mounts: Mapping[str, Path]
) -> CommandRun:
    """One run in a fresh copy. Raises SessionEnded."""
    with SandboxSession(sandbox, timeout_s=timeout_s, packages=mounts) as session:
        start(session)
        session.ask("install", source_of("shell_command"))
        paths = session.layout.places
        packages = paths[f"{PACKAGES}/pytest"].removesuffix("/pytest")
        request = {
            "command": line,
            "files": files,
            "folder": session.layout.scratch,
            "snapshot": paths[_SNAPSHOT],
            "environment": {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"},
        }
        reply = session.ask("invoke", msgspec.json.encode(request).decode())
    if reply.raised:
        failure, detail = failure_of(reply)
        raise SessionEnded(failure, detail)
    try:
        return CommandRun(*msgspec.convert(value_of(reply.value), tuple[int, str]))
    except (Malformed, msgspec.ValidationError) as error:
        raise SessionEnded("sandbox", f"a damaged result of the command: {error}") from error


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return " / ".join(lines[-3:])[-400:]
