"""What stays behind of a run: nothing, however its launcher ends."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from journeyman.sandbox import Profile
from journeyman.sandbox.checks import CheckJob, run_checks
from tests.sandboxes import DOUBLES, RIGHT, alive, check, sandbox


@pytest.mark.parametrize("profile", ["strict", "degraded"])
def test_a_killed_launcher_takes_the_sandbox_with_it(profile: Profile) -> None:
    sandbox(profile)
    marker = {"strict": "86412.25", "degraded": "86413.25"}[profile]
    code = f"import os\nos.execv('/usr/bin/sleep', ['sleep', '{marker}'])"
    program = (
        "from journeyman.sandbox.checks import run_check\nfrom tests.sandboxes import *\n"
        f"run_check(sandbox({profile!r}), {code!r}, DOUBLES, timeout_s=60)\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program])
    assert _appeared(marker)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    assert _gone(marker)


def test_runs_at_the_same_time_do_not_meet() -> None:
    code = "import os\nassert not os.listdir('/work')\nopen('/work/x', 'w').close()\n" + RIGHT
    results = run_checks(sandbox(), [CheckJob(code, DOUBLES)] * 20, workers=20)
    assert [result.passed for result in results] == [True] * 20


def test_a_run_leaves_no_descriptor_and_no_child_behind() -> None:
    check(RIGHT)
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        check("import os\nos._exit(3)\n")
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def _appeared(marker: str) -> bool:
    return _waited_for(lambda: bool(alive(marker)))


def _gone(marker: str) -> bool:
    return _waited_for(lambda: not alive(marker))


def _waited_for(condition: Callable[[], bool]) -> bool:
    for _ in range(400):
        if condition():
            return True
        time.sleep(0.05)
    return False
