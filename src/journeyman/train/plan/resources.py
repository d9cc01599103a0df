"""What this process can have: memory by the kernel and by cgroups, space on the disk."""

import ctypes
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from journeyman.train.memory import PROC, status_bytes

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
