"""Waiting for what another process does. The one time limit is for hangs, and says what of."""

import subprocess
import time
from collections.abc import Callable

import pytest

HANG_S = 300.0
"""After so long nothing is slow any more, also on a busy machine: it hangs."""


def wait_for(
    what: str, condition: Callable[[], object], process: "subprocess.Popen[str] | None" = None
) -> None:
    """Return as soon as the condition holds; fail once the process has ended, or it hangs."""
    end = time.monotonic() + HANG_S
    while not condition():
        if process is not None and process.poll() is not None:
            pytest.fail(f"the process ended with {process.returncode} before {what}")
        if time.monotonic() > end:
            pytest.fail(f"waited {HANG_S:g} s for this, in vain: {what}")
        time.sleep(0.005)
