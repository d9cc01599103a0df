"""What the processes of one run hold, read from /proc."""

import os
from pathlib import Path


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
