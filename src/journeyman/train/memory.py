"""How much memory this process has used, and for whom it did not suffice, by the kernel."""

import os
import resource
from pathlib import Path

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
