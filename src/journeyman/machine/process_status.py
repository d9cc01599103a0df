"""What the kernel says about a process (Linux): the one reader of `/proc/PID/status` and `stat`."""

import os
import re
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")


class ProcessStatus(Struct, frozen=True):
    """`/proc/PID/status`; None for a field that it lacks (a zombie holds no memory).

    `peak_bytes` is VmHWM, `resident_bytes` VmRSS, then RssAnon, RssFile and RssShmem.
    """

    peak_bytes: int | None = None
    resident_bytes: int | None = None
    anonymous_bytes: int | None = None
    file_bytes: int | None = None
    shared_bytes: int | None = None
    threads: int | None = None


class ProcessStat(Struct, frozen=True):
    """`/proc/PID/stat`. `state` is the kernel's letter, `group` the process group.

    Seconds of processor time count children that have ended and been waited for. `started_s` is
    in seconds since boot, suspended time included.
    """

    state: str
    parent: int
    group: int
    processor_s: float
    started_s: float


def process_status(pid: int | str = "self", *, proc: Path = PROC) -> ProcessStatus | None:
    """The status of a process, or None if it has ended or there is no `/proc`."""
    try:
        text = (proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    sizes = kib_lines(text)
    threads = re.search(r"^Threads:\s+(\d+)$", text, re.MULTILINE)
    return ProcessStatus(
        peak_bytes=sizes.get("VmHWM"),
        resident_bytes=sizes.get("VmRSS"),
        anonymous_bytes=sizes.get("RssAnon"),
        file_bytes=sizes.get("RssFile"),
        shared_bytes=sizes.get("RssShmem"),
        threads=None if threads is None else int(threads[1]),
    )


def process_stat(pid: int, *, proc: Path = PROC) -> ProcessStat | None:
    """State, parent, group and times of a process, or None if it has ended."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name may hold spaces and brackets: the fields start after the last bracket.
    fields = text.rpartition(")")[2].split()
    hertz = os.sysconf("SC_CLK_TCK")
    return ProcessStat(
        state=fields[0],
        parent=int(fields[1]),
        group=int(fields[2]),
        processor_s=sum(map(int, fields[11:15])) / hertz,
        started_s=int(fields[19]) / hertz,
    )


def process_ids(*, proc: Path = PROC) -> list[int]:
    """The ids of all processes."""
    return [int(folder.name) for folder in proc.iterdir() if folder.name.isdigit()]


def child_ids(pid: int, *, proc: Path = PROC) -> list[int]:
    """The ids of a process's children, whichever of its threads started them."""
    children: list[int] = []
    try:
        for thread in (proc / str(pid) / "task").iterdir():
            children += map(int, (thread / "children").read_text(encoding="ascii").split())
    except OSError:
        return children
    return children


def process_user(pid: int, *, proc: Path = PROC) -> int | None:
    """The id of the user that a process runs as, or None if it has ended."""
    try:
        return (proc / str(pid)).stat().st_uid
    except OSError:
        return None


def kib_lines(text: str) -> dict[str, int]:
    """Bytes by name from lines such as `VmHWM:  12 kB`."""
    return {
        name: int(kib) * 1024
        for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
