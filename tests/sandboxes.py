"""The sandbox for tests, and a few words to say what an attack came to in it."""

import functools
from pathlib import Path

import msgspec
import pytest

from journeyman.events import Caution, Event
from journeyman.records import Check
from journeyman.sandbox import Limits, Sandbox, find_sandbox
from journeyman.sandbox.checks import CheckResult, run_check

DOUBLES = Check("doctest", ">>> double(2)\n4\n>>> double('ab')\n'abab'\n", n=2)
ASSERTS = Check("assert", "assert double(2) == 4\nassert double('ab') == 'abab'\n", n=2)
RIGHT = "def double(x):\n    return x + x\n"


@functools.cache
def _found() -> tuple[Sandbox | None, str]:
    said: list[Event] = []
    sandbox = find_sandbox(said.append)
    return sandbox, "; ".join(event.text for event in said if isinstance(event, Caution))


def sandbox(**limits: int) -> Sandbox:
    """A proven sandbox, with other limits where they are given; skips where there is none."""
    found, reason = _found()
    if found is None:
        pytest.skip(reason)
    return msgspec.structs.replace(found, limits=Limits(**limits))


def check(code: str, what: Check = DOUBLES, *, timeout_s: float = 5.0) -> CheckResult:
    """Run a check on some code."""
    return run_check(sandbox(), code, what, timeout_s=timeout_s)


def said(code: str, *, timeout_s: float = 5.0, **limits: int) -> CheckResult:
    """Run `attack()` of some code; its detail shows what it gave where that is not 'refused'."""
    refused = Check("doctest", ">>> print(attack())\nrefused\n", n=1)
    return run_check(sandbox(**limits), code, refused, timeout_s=timeout_s)


def alive(marker: str) -> list[int]:
    """Processes of this machine whose command line holds a marker."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if marker.encode() in line and b"pytest" not in line:
            found.append(int(folder.name))
    return found
