"""How the process before this one ended, from what it left: its status, and the kernel's count.

Not covered: which process the kernel killed; that one was is known, and what this one used.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.events import Caution
from journeyman.files import write_json
from journeyman.train.fit import MemoryReduction
from journeyman.train.memory import PROC, kills_for_memory
from journeyman.train.plan.resources import memory_room
from journeyman.train.status import Status, read_status

START = "start.json"
_ALIVE = ("starting", "training", "validating", "saving")
_MUCH = 0.6


class Start(Struct, frozen=True):
    """What a process leaves at its start for the next one. `boot` tells one boot from another."""

    boot: str
    kills_for_memory: int | None
    fit: MemoryReduction = MemoryReduction()


class UnexpectedEnd(Struct, frozen=True):
    """A process that ended without a word. `for_memory`: most likely killed for want of it."""

    status: Status
    for_memory: bool
    limit_bytes: int

    @property
    def is_of_the_base(self) -> bool:
        """Whether the base itself does not fit, so that smaller micro-batches do not help."""
        return self.for_memory and self.status.state == "starting"

    def caution(self) -> Caution:
        """What the user is told, with the numbers."""
        status = self.status
        where = f"step {(status.step or 0) + 1}, micro-batch {(status.micro_batch or 0) + 1}"
        used = (
            ""
            if status.rss_bytes is None
            else f" at {status.rss_bytes / 2**30:.1f} of {self.limit_bytes / 2**30:.1f} GiB"
        )
        ended = f"the process before this one ({status.pid}) was killed in {where}{used}"
        if not self.for_memory:
            return Caution(f"{ended}; nothing that was saved is lost")
        if self.is_of_the_base:
            return Caution(
                f"the process before this one ({status.pid}) was killed while the base was loaded"
                f"{used}: most likely by the kernel, for want of memory",
                hint="take a smaller base, or a machine with more memory",
            )
        return Caution(
            f"{ended}: most likely by the kernel, for want of memory",
            hint="--fit goes on with smaller micro-batches by itself, each step keeps its rows; "
            "or lower --max-tokens, or take a smaller base",
        )


def read_start(folder: Path) -> Start:
    """What the process before left; a fresh one where there is nothing that can be read."""
    try:
        return msgspec.json.decode((folder / START).read_bytes(), type=Start)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return Start("", None)


def write_start(folder: Path, fit: MemoryReduction, *, proc: Path = PROC) -> None:
    """Leave word for the next process; again whenever the fit changes."""
    write_json(folder / START, Start(_boot(proc), kills_for_memory(proc=proc), fit))


def outage(folder: Path, *, proc: Path = PROC) -> UnexpectedEnd | None:
    """How the process before ended; None where it said so itself, or there was none.

    The caller owns the folder, so that no other process can be alive in it.
    """
    status = read_status(folder)
    if status is None or status.state not in _ALIVE:
        return None
    limit = memory_room(proc=proc).limit_bytes
    start = read_start(folder)
    counted = kills_for_memory(proc=proc)
    if start.boot == _boot(proc) and None not in (counted, start.kills_for_memory):
        # The kernel counts: if it killed nobody since then, then not this one either.
        killed = counted != start.kills_for_memory
    else:
        killed = (status.rss_bytes or 0) > _MUCH * limit
    return UnexpectedEnd(status, killed, limit)


def _boot(proc: Path = PROC) -> str:
    path = proc / "sys/kernel/random/boot_id"
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""
