"""Nothing is left of a run, however its launcher ends."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.sandbox import Profile
from journeyman.sandbox.checks import CheckJob, run_checks
from tests.sandboxes import DOUBLES, RIGHT, check, sandbox, sleeping
from tests.waiting import HANG_S, wait_for


@pytest.mark.parametrize("profile", ["strict", "degraded"])
def test_a_killed_launcher_takes_the_sandbox_with_it(profile: Profile) -> None:
    sandbox(profile)
    # Seconds that no other process of this machine sleeps.
    marker = f"86400.{random.randrange(10**9)}"
    code = f"import os\nos.execv('/usr/bin/sleep', ['sleep', '{marker}'])"
    program = (
        "from journeyman.sandbox.checks import run_check\n"
        "from tests.sandboxes import DOUBLES, sandbox\n"
        f"run_check(sandbox({profile!r}), {code!r}, DOUBLES, timeout_s={HANG_S})\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program], text=True)
    wait_for("the code runs", lambda: sleeping(marker), launcher)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    wait_for("the code is ended", lambda: not sleeping(marker))


def test_concurrent_runs_do_not_see_each_other() -> None:
    code = "import os\nassert not os.listdir('/work')\nopen('/work/x', 'w').close()\n" + RIGHT
    results = run_checks(sandbox(), [CheckJob(code, DOUBLES)] * 20, workers=20, timeout_s=HANG_S)
    assert [result.passed for result in results] == [True] * 20


def test_a_run_leaves_no_descriptor_and_no_child_behind() -> None:
    check(RIGHT)
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        check("import os\nos._exit(3)\n")
    assert sorted(Path("/proc/self/fd").iterdir()) == before
