"""How much memory this process has used, and for whom it did not suffice, by the kernel.

A process's memory by the kernel's own account (Linux, `/proc/PID`).

What the processes of one run hold, read from /proc.

What this process can have: memory by the kernel and by cgroups, space on the disk.
"""

import ctypes
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")

_STATM = PROC / "self" / "statm"


def rss_bytes() -> int | None:
    """Resident memory of this process now; None where the kernel does not say."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes(*, proc: Path = PROC) -> int:
    """The most that this process has had resident since its start or its last `peak_growth_bytes`.

    VmHWM of `/proc/self/status`. Where the kernel does not say it: `ru_maxrss`, which is too much
    for a process started by one that was larger (it keeps the peak of its parent).
    """
    peak_bytes = status_bytes("VmHWM", proc=proc)
    if peak_bytes is not None:
        return peak_bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def status_bytes(name: str, *, proc: Path = PROC) -> int | None:
    """One line of `/proc/self/status` such as VmRSS; None where the kernel does not say."""
    try:
        lines = (proc / "self" / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(name + ":"))
    return next((int(kib) * 1024 for kib in found), None)


def kills_for_memory(*, proc: Path = PROC) -> int | None:
    """How many processes the kernel killed for memory since boot; None where it does not say."""
    try:
        lines = (proc / "vmstat").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


class ProcessMemory(Struct, frozen=True):
    """Bytes that a process holds; None where the kernel does not say.

    `peak` is the most that was resident at once (VmHWM), mapped pages of files counted.
    `anonymous` and `file` are the parts resident now; `proportional` counts shared pages by share.
    """

    peak_bytes: int | None = None
    anonymous_bytes: int | None = None
    file_bytes: int | None = None
    proportional_bytes: int | None = None


def memory_of(pid: int | str = "self", *, proc: Path = PROC) -> ProcessMemory | None:
    """What a process holds now and held at its peak, or None where the kernel is silent."""
    status = _lines(proc / str(pid) / "status")
    if "VmHWM" not in status:
        return None
    return ProcessMemory(
        peak_bytes=status["VmHWM"],
        anonymous_bytes=status.get("RssAnon"),
        file_bytes=status.get("RssFile"),
        proportional_bytes=_lines(proc / str(pid) / "smaps_rollup").get("Pss"),
    )


def _lines(path: Path) -> dict[str, int]:
    """`Name: 12 kB` lines as bytes by name."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in found}


def memory_of_tree(process: int) -> int:
    """Anonymous and shared memory in bytes of a process and its descendants; files not counted.

    Pages shared after a fork count once for each process. A process that ends meanwhile counts 0.
    """
    total = 0
    pending = [process]
    while pending:
        folder = Path("/proc") / str(pending.pop())
        total += _held(folder)
        pending += _children(folder)
    return total


def use_of_group(group: int) -> tuple[int, int]:
    """The same for a process group, whose orphans are nobody's descendants, and how many it has."""
    members = [folder for folder in _processes() if _group_of(folder) == group]
    return sum(map(_held, members)), len(members)


def processes_of_user(user: int) -> int:
    """How many threads of a user there are: what RLIMIT_NPROC counts."""
    return sum(_threads(folder) for folder in _processes() if _owner(folder) == user)


def size_of(folder: Path, most_files: int = 5000) -> int | None:
    """Bytes of all files below a folder; None where there are more files than may be."""
    total = count = 0
    for place, _, names in os.walk(folder):
        count += len(names)
        if count > most_files:
            return None
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def _processes() -> list[Path]:
    return [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _held(folder: Path) -> int:
    held = [value for name, value in _status(folder) if name in ("RssAnon", "RssShmem")]
    return sum(int(value.split()[0]) for value in held) * 1024


def _threads(folder: Path) -> int:
    return sum(int(value) for name, value in _status(folder) if name == "Threads")


def _status(folder: Path) -> list[tuple[str, str]]:
    try:
        text = (folder / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    pairs = (line.partition(":") for line in text.splitlines())
    return [(name, value.strip()) for name, _, value in pairs]


def _owner(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _group_of(folder: Path) -> int | None:
    try:
        # The name in brackets may hold spaces; the group is the third field after it.
        fields = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(fields.rpartition(")")[2].split()[2])


def _children(folder: Path) -> list[int]:
    found: list[int] = []
    try:
        for thread in (folder / "task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
    except OSError:
        return found
    return found


CGROUPS = Path("/sys/fs/cgroup")

# Version 1 writes a huge number where there is no limit.
_NO_LIMIT_BYTES = 2**60


class MemoryRoom(Struct, frozen=True):
    """Memory in bytes: `limit` that can ever be had, `available` now; and what limits it."""

    limit_bytes: int
    available_bytes: int
    limited_by: str


class _ControlGroup(Struct, frozen=True):
    limit_bytes: int
    used_bytes: int
    name: str


def memory_room(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> MemoryRoom:
    """The tightest of the machine's memory and the limits of the cgroups around this process."""
    machine = _meminfo(proc)
    room = MemoryRoom(machine["MemTotal"], machine["MemAvailable"], "the machine's memory")
    for group in _groups(proc, cgroups):
        available = max(0, group.limit_bytes - group.used_bytes)
        room = MemoryRoom(
            limit_bytes=min(room.limit_bytes, group.limit_bytes),
            available_bytes=min(room.available_bytes, available),
            limited_by=f"the limit of the cgroup `{group.name}`"
            if group.limit_bytes < room.limit_bytes
            else room.limited_by,
        )
    return room


def _meminfo(proc: Path) -> dict[str, int]:
    lines = (proc / "meminfo").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name: int(rest.split()[0]) * 1024 for name, rest in pairs}


def _groups(proc: Path, cgroups: Path) -> Iterator[_ControlGroup]:
    """Every cgroup with a limit that this process is in, version 1 and 2."""
    membership = proc / "self" / "cgroup"
    if not membership.is_file():
        return
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _limited(cgroups, path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            yield from _limited(root, path, "memory.limit_in_bytes", "memory.usage_in_bytes")


def _limited(root: Path, path: str, limit: str, used: str) -> Iterator[_ControlGroup]:
    # In a container the path is the host's and the folder may be missing: then the root counts.
    folder = root / path.lstrip("/")
    for one in (folder, *folder.parents):
        if not one.is_relative_to(root):
            return
        limit_bytes = _number(one / limit)
        used_bytes = _number(one / used)
        if limit_bytes is not None and used_bytes is not None and limit_bytes < _NO_LIMIT_BYTES:
            cached = _file_cache(one / "memory.stat")
            yield _ControlGroup(
                limit_bytes, max(0, used_bytes - cached), str(one.relative_to(root))
            )


def _number(path: Path) -> int | None:
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8").strip()
    return int(text) if text.isdecimal() else None


def _file_cache(path: Path) -> int:
    """Memory of files that the kernel gives back when it is needed."""
    if not path.is_file():
        return 0
    pairs = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    values = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    return values.get("inactive_file", values.get("total_inactive_file", 0))


def free_bytes(folder: Path) -> int:
    """Space where the folder is or will be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def peak_growth_bytes(act: Callable[[], object], *, proc: Path = PROC) -> int | None:
    """How much more memory than before this process held at the most during a call.

    None where the kernel does not let a process reset its own peak.
    """
    # What was freed and kept for later would hide new needs.
    ctypes.CDLL(None).malloc_trim(0)
    try:
        (proc / "self" / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    before = status_bytes("VmRSS", proc=proc)
    act()
    peak = status_bytes("VmHWM", proc=proc)
    return None if before is None or peak is None else max(0, peak - before)
