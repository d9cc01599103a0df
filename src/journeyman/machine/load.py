"""What else the machine was doing while an answer was timed.

The load average does not tell: it counts our own server and forgets only after minutes. So the
kernel's processor seconds are read before and after a request, and those of this process and all
its descendants are taken off. Time that a hypervisor gave to others (steal) counts as others'.
Not covered: what other machines do to a shared disk or memory bus.
"""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from journeyman.machine.memory import PROC

BUSY_SHARE = 0.10
"""Other work on more than this share of the cores makes times unusable as evidence."""


class ProcessorUsage(Struct, frozen=True):
    """Processor seconds since the start: all that was used, and what we and our children used."""

    at_s: float
    all_s: float
    own_s: float


def usage(
    *, proc: Path = PROC, clock: Callable[[], float] = time.perf_counter
) -> ProcessorUsage | None:
    """The counters now, or None where this system has none."""
    try:
        counters = (proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    hertz = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, counters[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ProcessorUsage(clock(), ticks / hertz, _own_ticks(proc, os.getpid()) / hertz)


def other_load(before: ProcessorUsage | None, after: ProcessorUsage | None) -> float | None:
    """How many cores other programs kept busy between two readings; None where not known."""
    if before is None or after is None or after.at_s <= before.at_s:
        return None
    others = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    return max(0.0, others / (after.at_s - before.at_s))


def mean_load(loads: Iterable[tuple[float | None, float | None]]) -> float | None:
    """(other load, seconds) of each request -> the mean over all the time; None where not known."""
    known = [(load, s) for load, s in loads if load is not None and s is not None]
    seconds = sum(s for _, s in known)
    return sum(load * s for load, s in known) / seconds if seconds > 0 else None


def _own_ticks(proc: Path, root: int) -> int:
    """Processor ticks of a process and its descendants, those that ended and were awaited too."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name may hold spaces and brackets: the fields start after the last bracket.
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    return sum(ticks[pid] for pid in ticks if _descends(pid, root, parents))


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    seen: set[int] = set()
    while pid in parents and pid not in seen:
        if pid == root:
            return True
        seen.add(pid)
        pid = parents[pid]
    return False
