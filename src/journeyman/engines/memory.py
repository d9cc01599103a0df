"""A process's memory by the kernel's own account (Linux, `/proc/PID`)."""

import re
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")


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
