"""How much memory this process has used, and for whom it did not suffice, by the kernel."""

import os
import resource
from pathlib import Path

_STATM = Path("/proc/self/statm")


def rss_bytes() -> int | None:
    """Resident memory of this process now; None where the kernel does not say."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes() -> int:
    """The most that this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def kills_for_memory(*, proc: Path = Path("/proc")) -> int | None:
    """How many processes the kernel killed for memory since boot; None where it does not say."""
    try:
        lines = (proc / "vmstat").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
