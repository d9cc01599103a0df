"""How much memory a process, a tree of processes or a process group holds (Linux)."""

import ctypes
import resource
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from journeyman.machine.process_status import (
    PROC,
    child_ids,
    kib_lines,
    process_ids,
    process_stat,
    process_status,
    process_user,
)


class ProcessMemory(Struct, frozen=True):
    """Bytes that a process holds; None if the kernel does not say.

    `peak_bytes` is the most that was resident at once (VmHWM), mapped pages of files included.
    `anonymous_bytes` and `file_bytes` are resident now; `proportional_bytes` divides each shared
    page by the number of its users (Pss).
    """

    peak_bytes: int | None = None
    anonymous_bytes: int | None = None
    file_bytes: int | None = None
    proportional_bytes: int | None = None


def process_memory(pid: int | str = "self", *, proc: Path = PROC) -> ProcessMemory | None:
    """What a process holds now and held at its peak, or None if the kernel does not say."""
    status = process_status(pid, proc=proc)
    if status is None or status.peak_bytes is None:
        return None
    try:
        rollup = (proc / str(pid) / "smaps_rollup").read_text(encoding="ascii", errors="replace")
    except OSError:
        rollup = ""
    return ProcessMemory(
        peak_bytes=status.peak_bytes,
        anonymous_bytes=status.anonymous_bytes,
        file_bytes=status.file_bytes,
        proportional_bytes=kib_lines(rollup).get("Pss"),
    )


def rss_bytes(*, proc: Path = PROC) -> int | None:
    """Resident memory of this process now (VmRSS), or None if the kernel does not say."""
    status = process_status(proc=proc)
    return None if status is None else status.resident_bytes


def peak_rss_bytes(*, proc: Path = PROC) -> int:
    """The most memory that this process has held since its start or its last `peak_growth_bytes`.

    VmHWM; without `/proc` it is `ru_maxrss`, which is too much if the parent was larger than this
    process: a child begins with its parent's peak.
    """
    status = process_status(proc=proc)
    if status is not None and status.peak_bytes is not None:
        return status.peak_bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_growth_bytes(act: Callable[[], object], *, proc: Path = PROC) -> int | None:
    """How far this process's memory rose above its present size during a call, in bytes.

    None if the kernel does not let a process reset its own peak.
    """
    # Freed memory that the allocator has kept would hide what the call needs.
    ctypes.CDLL(None).malloc_trim(0)
    try:
        (proc / "self" / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    before = rss_bytes(proc=proc)
    act()
    status = process_status(proc=proc)
    if before is None or status is None or status.peak_bytes is None:
        return None
    return max(0, status.peak_bytes - before)


def tree_memory_bytes(root: int) -> int:
    """Anonymous and shared memory of a process and its descendants; mapped files are not counted.

    Pages shared after a fork count once for each process. A process that ends meanwhile counts 0.
    """
    total = 0
    pending = [root]
    while pending:
        pid = pending.pop()
        total += _own_bytes(pid)
        pending += child_ids(pid)
    return total


def group_memory_bytes(group: int) -> tuple[int, int]:
    """The same for a process group, and its number of processes.

    A process whose parent has ended leaves the tree, but not the group.
    """
    stats = {pid: process_stat(pid) for pid in process_ids()}
    members = [pid for pid, stat in stats.items() if stat is not None and stat.group == group]
    return sum(map(_own_bytes, members)), len(members)


def threads_of_user(user: int) -> int:
    """How many threads a user has, which is what RLIMIT_NPROC limits."""
    statuses = [process_status(pid) for pid in process_ids() if process_user(pid) == user]
    return sum(status.threads or 0 for status in statuses if status is not None)


def _own_bytes(pid: int) -> int:
    status = process_status(pid)
    return 0 if status is None else (status.anonymous_bytes or 0) + (status.shared_bytes or 0)
