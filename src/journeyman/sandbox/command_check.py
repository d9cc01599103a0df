"""A check that is a shell command in a snapshot of a repository, with the answer as one file.

Each run gets a fresh writable copy in scratch memory, no network, and pytest besides the system's
programs. The exit code is read by a process that the command cannot look into. But the answer runs
among the command's own processes and could end them with code 0, so that alone proves nothing:

- the command must fail where no answer was written (canary 1),
- it must fail where the answer does all that it does and every function then raises (canary 2),
- it must still pass where every function raises if what it gave equals a new object (canary 3).

What leaves early, prints a summary, patches the test tool or deletes the tests passes canary 2 as
well, and is found out; so is, by canary 3, what gives objects equal to everything. Not covered: an
answer that recognises the canaries and behaves; `CheckResult.acknowledged` is therefore 1.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.records import Check
from journeyman.sandbox.check_steps import NoTests, raised
from journeyman.sandbox.launch import PACKAGES, helper
from journeyman.sandbox.mounted_files import pytest_folders, snapshot
from journeyman.sandbox.outcome import CheckOutcome, begin
from journeyman.sandbox.sandbox import MIB, Sandbox
from journeyman.sandbox.session import SandboxSession, SessionEnded
from journeyman.sandbox.values import Malformed, decoded

SCRATCH_BYTES = 256 * MIB
OPEN_FILES = 256
_PLACE = "/snapshot"

_WRAP = """

def _journeyman_canary(names, after):
    import functools, inspect
    def watched(function):
        @functools.wraps(function)
        def call(*arguments, **named):
            value = function(*arguments, **named)
            after(value)
            return value
        return call
    def mend(owner, names, module):
        for name, value in list(names.items()):
            if inspect.isfunction(value) and not value.__name__.startswith("_journeyman"):
                if owner is None:
                    names[name] = watched(value)
                elif name != "__eq__":
                    setattr(owner, name, watched(value))
            elif owner is None and inspect.isclass(value) and value.__module__ == module:
                mend(value, vars(value), module)
    mend(None, names, names["__name__"])

def _journeyman_fail(value):
    raise AssertionError("canary")

def _journeyman_probe(value):
    parts = [value, *(value if type(value) in (list, tuple, set) else ())]
    if any((part == object()) is True for part in parts):
        raise AssertionError("canary: it equals everything")

"""
FAILING = _WRAP + "_journeyman_canary(globals(), _journeyman_fail)\n"
"""Appended to an answer: each of its functions does what it did, and then raises."""
PROBING = _WRAP + "_journeyman_canary(globals(), _journeyman_probe)\n"
"""Appended to an answer: a function that gives what equals a new object raises."""


class CommandRun(Struct, frozen=True):
    """How one run of the command ended, and the last of what it wrote."""

    code: int
    text: str


def run_shell(
    sandbox: Sandbox, code: str, check: Check, timeout_s: float, folders: Mapping[str, Path]
) -> CheckOutcome:
    """Run the command and its canaries. Raises NoTests where the check can prove nothing."""
    _require_sense(check)
    limits = msgspec.structs.replace(
        sandbox.limits, scratch_bytes=SCRATCH_BYTES, open_files=OPEN_FILES
    )
    roomy = msgspec.structs.replace(sandbox, limits=limits)
    try:
        copied = snapshot(Path(check.repository), SCRATCH_BYTES // 2)
        places = {**folders, **pytest_folders(), _PLACE: copied}
    except MachineError as error:
        raise NoTests(error.message) from error

    def run(files: dict[str, str]) -> CommandRun:
        return _run(roomy, check.source, files, timeout_s, places)

    try:
        if run({}).code == 0:
            raise NoTests("the command passes without any answer, so that it proves nothing")
        answered = run({check.file: code})
        if answered.code != 0:
            detail = f"the command ended with code {answered.code}: {_last(answered.text)}"
            return CheckOutcome(1, 1, "command", detail)
        if run({check.file: code + FAILING}).code == 0:
            detail = "the command passes though every function of the answer fails"
            return CheckOutcome(1, 1, "canary", detail)
        if run({check.file: code + PROBING}).code != 0:
            detail = "the answer gives something that equals everything"
            return CheckOutcome(1, 1, "canary", detail)
    except SessionEnded as ended:
        return CheckOutcome(0, 1, ended.failure, ended.detail)
    return CheckOutcome(1, 1, acknowledged=1)


def _require_sense(check: Check) -> None:
    """Raise NoTests for a check that cannot be carried out as it stands."""
    path = PurePosixPath(check.file)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in check.file:
        raise NoTests(f"`{check.file[:80]}` is no path inside of the repository")
    if not check.source.strip() or "\0" in check.source:
        raise NoTests("the check holds no command")
    if not check.repository:
        raise NoTests("the check names no `repository`")


def _run(
    sandbox: Sandbox, line: str, files: dict[str, str], timeout_s: float, places: Mapping[str, Path]
) -> CommandRun:
    """One run in a fresh copy. Raises Ended."""
    with SandboxSession(sandbox, timeout_s=timeout_s, packages=places) as session:
        begin(session)
        session.ask("install", helper("shell_command"))
        where = session.layout.places
        packages = where[f"{PACKAGES}/pytest"].removesuffix("/pytest")
        request = {
            "command": line,
            "files": files,
            "folder": session.layout.scratch,
            "snapshot": where[_PLACE],
            "environment": {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"},
        }
        reply = session.ask("invoke", msgspec.json.encode(request).decode())
    if reply.raised:
        failure, detail = raised(reply)
        raise SessionEnded(failure, detail)
    try:
        return CommandRun(*msgspec.convert(decoded(reply.value), tuple[int, str]))
    except (Malformed, msgspec.ValidationError) as error:
        raise SessionEnded("sandbox", f"a damaged result of the command: {error}") from error


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return " / ".join(lines[-3:])[-400:]
