"""How much memory a process and all below it hold, read from /proc."""

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


def _held(folder: Path) -> int:
    try:
        lines = (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    held = [line.split()[1] for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(int(kib) for kib in held) * 1024


def _children(folder: Path) -> list[int]:
    found: list[int] = []
    try:
        for thread in (folder / "task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
    except OSError:
        return found
    return found
