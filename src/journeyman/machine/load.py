"""How busy other programs keep the machine, while an answer is timed and before.

The load average cannot say this about one request: it counts our own server and forgets only after
minutes. So the kernel's processor seconds are read before and after a request, and the share of
this process and its descendants is subtracted. Time that a hypervisor gave to others (steal) counts
as theirs. Not covered: what other machines do to a shared disk or memory bus.
"""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from journeyman.machine.process_status import PROC, ProcessStat, process_ids, process_stat

BUSY_SHARE = 0.10
"""Latencies are not evidence if other programs keep more than this share of the cores busy."""

BUSY_LOAD_SHARE = 0.3
"""A load average above this share of the cores is worth a warning before anything is timed.

Higher than `BUSY_SHARE`: the load average still holds our own work of the last minutes.
"""


class ProcessorUsage(Struct, frozen=True):
    """Processor seconds since boot: of all programs, and of this process and its descendants."""

    at_s: float
    all_s: float
    own_s: float


def processor_usage(
    *, proc: Path = PROC, clock: Callable[[], float] = time.perf_counter
) -> ProcessorUsage | None:
    """The kernel's counters now, or None if this system has none."""
    try:
        counters = (proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, counters[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ProcessorUsage(clock(), ticks / os.sysconf("SC_CLK_TCK"), _tree_s(os.getpid(), proc))


def other_load(before: ProcessorUsage | None, after: ProcessorUsage | None) -> float | None:
    """How many cores other programs kept busy between two readings; None if not known."""
    if before is None or after is None or after.at_s <= before.at_s:
        return None
    others = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    return max(0.0, others / (after.at_s - before.at_s))


def mean_load(loads: Iterable[tuple[float | None, float | None]]) -> float | None:
    """The mean of (other load, seconds) pairs, weighted by their seconds; None if none is known."""
    known = [(load, s) for load, s in loads if load is not None and s is not None]
    seconds = sum(s for _, s in known)
    return sum(load * s for load, s in known) / seconds if seconds > 0 else None


def load_average() -> float | None:
    """The load average of the last minute, or None if this system has none."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _tree_s(root: int, proc: Path) -> float:
    """Processor seconds of a process and its descendants, ended children that it awaited too."""
    stats = {pid: process_stat(pid, proc=proc) for pid in process_ids(proc=proc)}
    alive = {pid: stat for pid, stat in stats.items() if stat is not None}
    return sum(stat.processor_s for pid, stat in alive.items() if _descends(pid, root, alive))


def _descends(pid: int, root: int, stats: dict[int, ProcessStat]) -> bool:
    seen: set[int] = set()
    while pid in stats and pid not in seen:
        if pid == root:
            return True
        seen.add(pid)
        pid = stats[pid].parent
    return False
