"""How much memory this process can have: the machine's, and the limits of its cgroups (Linux)."""

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from journeyman.machine.process_status import PROC, kib_lines

CGROUPS = Path("/sys/fs/cgroup")

# Version 1 writes a huge number if there is no limit.
_NO_LIMIT_BYTES = 2**60


class MemoryRoom(Struct, frozen=True):
    """Memory in bytes: the `limit` in all, what is `available` now, and what sets the limit."""

    limit_bytes: int
    available_bytes: int
    limited_by: str


class _ControlGroup(Struct, frozen=True):
    limit_bytes: int
    used_bytes: int
    name: str


def physical_memory_bytes() -> int:
    """The machine's memory, without the limits on this process."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_room(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> MemoryRoom:
    """The tightest of the machine's memory and the limits of the cgroups around this process."""
    machine = kib_lines((proc / "meminfo").read_text(encoding="utf-8"))
    room = MemoryRoom(machine["MemTotal"], machine["MemAvailable"], "the machine's memory")
    for group in _limited_groups(proc, cgroups):
        available = max(0, group.limit_bytes - group.used_bytes)
        room = MemoryRoom(
            limit_bytes=min(room.limit_bytes, group.limit_bytes),
            available_bytes=min(room.available_bytes, available),
            limited_by=f"the limit of the cgroup `{group.name}`"
            if group.limit_bytes < room.limit_bytes
            else room.limited_by,
        )
    return room


def _limited_groups(proc: Path, cgroups: Path) -> Iterator[_ControlGroup]:
    """Every cgroup with a limit that this process is in, version 1 and 2."""
    membership = proc / "self" / "cgroup"
    if not membership.is_file():
        return
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _limits_along(cgroups, path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            yield from _limits_along(root, path, "memory.limit_in_bytes", "memory.usage_in_bytes")


def _limits_along(root: Path, path: str, limit: str, used: str) -> Iterator[_ControlGroup]:
    """The limits from a group up to the root of its hierarchy."""
    # In a container the path is the host's and its folder may be missing: then the root counts.
    innermost = root / path.lstrip("/")
    for folder in (innermost, *innermost.parents):
        if not folder.is_relative_to(root):
            return
        limit_bytes = _read_number(folder / limit)
        used_bytes = _read_number(folder / used)
        if limit_bytes is not None and used_bytes is not None and limit_bytes < _NO_LIMIT_BYTES:
            used_bytes = max(0, used_bytes - _file_cache_bytes(folder / "memory.stat"))
            yield _ControlGroup(limit_bytes, used_bytes, str(folder.relative_to(root)))


def _read_number(path: Path) -> int | None:
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8").strip()
    return int(text) if text.isdecimal() else None


def _file_cache_bytes(path: Path) -> int:
    """Cached file pages, which the kernel gives back when memory is needed."""
    if not path.is_file():
        return 0
    pairs = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    values = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    return values.get("inactive_file", values.get("total_inactive_file", 0))
