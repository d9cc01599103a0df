"""Starts the processes of a data parallel run on one machine, and ends all if one ends early.

Covered: the processors of each, and signals. Not covered: several machines; use torchrun there.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from journeyman.errors import Interrupted
from journeyman.machine.processes import end_with_parent
from journeyman.train.parallel.affinity import CpuAssignment
from journeyman.train.parallel.group import RENDEZVOUS

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_S = 0.1
# How long the others have to notice and report it after one process has ended with an error.
_GRACE_S = 15.0


def launch(command: Sequence[str], assignment: CpuAssignment) -> int:
    """Run a command in one process for each set of processors, bound to it; gives the exit code.

    Every SIGTERM and SIGINT is passed on to all processes. Raises Interrupted if a process was
    killed; the others are ended then, because they cannot go on without it.
    """
    with tempfile.TemporaryDirectory(prefix="journeyman-") as folder:
        rendezvous = str(Path(folder) / "rendezvous")
        children = _start(command, assignment, rendezvous)
        try:
            with _signals_to(children):
                return _wait(children)
        finally:
            for child in children:
                child.kill()
                child.wait()


def _start(
    command: Sequence[str], assignment: CpuAssignment, rendezvous: str
) -> list["subprocess.Popen[bytes]"]:
    """Start the processes. Each inherits the processors that this one is bound to meanwhile."""
    before = os.sched_getaffinity(0)
    children = []
    try:
        for rank, cpu_set in enumerate(assignment.cpu_sets):
            os.sched_setaffinity(0, cpu_set.cpus)
            environment = {
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(len(assignment.cpu_sets)),
                "LOCAL_WORLD_SIZE": str(len(assignment.cpu_sets)),
                "OMP_NUM_THREADS": str(cpu_set.threads),
                "GLOO_SOCKET_IFNAME": "lo",
                RENDEZVOUS: rendezvous,
            }
            # In a new session, so that Ctrl-C reaches only this process, which passes it on.
            children.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=end_with_parent(),  # noqa: PLW1509
                )
            )
    finally:
        os.sched_setaffinity(0, before)
    return children


@contextlib.contextmanager
def _signals_to(children: Sequence["subprocess.Popen[bytes]"]) -> Iterator[None]:
    def pass_on(_number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(signal.SIGTERM)

    before = [signal.signal(number, pass_on) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _wait(children: Sequence["subprocess.Popen[bytes]"]) -> int:
    """The exit code of the run: 0 if all ended with 0, else that of the first that did not."""
    while all(child.poll() in (None, 0) for child in children):
        if all(child.poll() == 0 for child in children):
            return 0
        time.sleep(_POLL_S)
    # Found before the grace period, because the others end on account of this one.
    first = next(rank for rank, child in enumerate(children) if child.poll())
    end = time.monotonic() + _GRACE_S
    while any(child.poll() is None for child in children) and time.monotonic() < end:
        time.sleep(_POLL_S)
    code = children[first].returncode
    if code < 0:
        name = signal.Signals(-code).name
        raise Interrupted(
            f"process {first} of {len(children)} was killed by {name}, and the others were ended",
            hint="run the same command again to go on from the last checkpoint; SIGKILL often "
            "means out of memory, and fewer --processes need less",
        )
    return int(code)
