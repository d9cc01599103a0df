"""The processes of a run on one machine, started, stopped and ended together.

Covered: their places, signals, and the end of all when one ends. Not covered: several machines;
torchrun starts those.
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
from journeyman.train.parallel.affinity import ProcessLayout
from journeyman.train.parallel.group import RENDEZVOUS

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_LOOKS_S = 0.1

_GRACE_S = 15.0
"""How long the others have, after one has ended with an error, to notice it and say so."""


def launch(command: Sequence[str], layout: ProcessLayout) -> int:
    """Run a command once for each place, pinned there. Gives the exit code of the run.

    The first SIGTERM or SIGINT is handed to every process, and so is a second. Raises Interrupted
    where a process was killed: the others are ended then, because none can go on without it.
    """
    with tempfile.TemporaryDirectory(prefix="journeyman-") as folder:
        meeting = str(Path(folder) / "rendezvous")
        children = _started(command, layout, meeting)
        try:
            with _signals_to(children):
                return _ended(children)
        finally:
            for child in children:
                child.kill()
                child.wait()


def _started(
    command: Sequence[str], layout: ProcessLayout, meeting: str
) -> list["subprocess.Popen[bytes]"]:
    """One process a place. Each inherits the processors that this one is bound to for a moment."""
    before = os.sched_getaffinity(0)
    children = []
    try:
        for rank, place in enumerate(layout.places):
            os.sched_setaffinity(0, place.cpus)
            environment = {
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(len(layout.places)),
                "LOCAL_WORLD_SIZE": str(len(layout.places)),
                "OMP_NUM_THREADS": str(place.threads),
                "GLOO_SOCKET_IFNAME": "lo",
                RENDEZVOUS: meeting,
            }
            # A session of its own: Ctrl-C of the terminal reaches this process, which hands it on.
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
    def hand_on(_number: int, _frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(signal.SIGTERM)

    before = [signal.signal(number, hand_on) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def _ended(children: Sequence["subprocess.Popen[bytes]"]) -> int:
    """The exit code once all have ended; those that do not notice an early end are killed."""
    while all(child.poll() in (None, 0) for child in children):
        if all(child.poll() == 0 for child in children):
            return 0
        time.sleep(_LOOKS_S)
    # Looked at now, before the grace: what ends later ends because of this one.
    first = next(rank for rank, child in enumerate(children) if child.poll())
    end = time.monotonic() + _GRACE_S
    while any(child.poll() is None for child in children) and time.monotonic() < end:
        time.sleep(_LOOKS_S)
    code = children[first].returncode
    if code < 0:
        name = signal.Signals(-code).name
        raise Interrupted(
            f"process {first} of {len(children)} was killed by {name}, and the others were ended",
            hint="run the same command again to go on from the last checkpoint; SIGKILL is often "
            "the kernel's answer to too little memory, and fewer --processes need less",
        )
    return int(code)
