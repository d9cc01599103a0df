"""The sandbox for tests, how attacks went in it, and a few words to say what one came to."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from journeyman.events import Caution, Event
from journeyman.records import Check
from journeyman.sandbox import Limits, Profile, Sandbox, find_sandbox
from journeyman.sandbox.checks import CheckResult, run_check
from journeyman.sandbox.selftest import ASSERTS, DOUBLES, RIGHT, SelfTest, self_test

__all__ = ["ASSERTS", "DOUBLES", "RIGHT"]

NOBODY = 65534
Starter = Literal["this user", "a plain user"]


@functools.cache
def _found(profile: Profile) -> tuple[Sandbox | None, str]:
    said: list[Event] = []
    sandbox = find_sandbox(said.append, profile)
    return sandbox, "; ".join(event.text for event in said if isinstance(event, Caution))


def sandbox(profile: Profile = "strict", **limits: int) -> Sandbox:
    """A proven sandbox, with other limits where they are given; skips where there is none."""
    found, reason = _found(profile)
    if found is None:
        pytest.skip(reason)
    return msgspec.structs.replace(found, limits=Limits(**limits))


def check(code: str, what: Check = DOUBLES, *, timeout_s: float = 5.0) -> CheckResult:
    """Run a check on some code."""
    return run_check(sandbox(), code, what, timeout_s=timeout_s)


@functools.cache
def outcomes(profile: Profile, starter: Starter) -> SelfTest:
    """How the attacks went, once for all tests; skips where they cannot be tried.

    Files of tests and commands, which take longest, are lied to in the first case only.
    """
    if starter == "a plain user":
        ended = as_plain_user(["-c", _SELF_TEST.format(profile=profile)])
        assert ended.returncode == 0, ended.stderr.decode()
        return msgspec.json.decode(ended.stdout, type=SelfTest)
    if profile == "strict":
        return self_test(sandbox(profile))
    return self_test(sandbox(profile), kinds=("doctest",))


_SELF_TEST = """
import sys, msgspec
from journeyman.sandbox import find_sandbox
from journeyman.sandbox.selftest import self_test
sandbox = find_sandbox(lambda event: print(event, file=sys.stderr), "{profile}")
assert sandbox
print(msgspec.json.encode(self_test(sandbox, kinds=("doctest",))).decode())
"""


def as_plain_user(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Python with some arguments, started by root as a user without any right of its own."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can start something as another user, by `setpriv`")
    source = Path(__file__).parents[1] / "src"
    packages = Path(msgspec.__file__).parents[1]
    change = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    environment = ["env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={source}:{packages}", "HOME=/"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = [*change, *environment, f"/usr/bin/python{version}", "-B"]
    probe = [*python, "-c", "import journeyman, msgspec, pytest"]
    if subprocess.run(probe, check=False, capture_output=True, cwd="/").returncode != 0:
        pytest.skip(f"a plain user cannot read `{source}` or `{packages}`, or has no Python")
    return subprocess.run([*python, *arguments], check=False, capture_output=True, cwd="/")


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
