"""How often the kernel has killed a process because memory ran out (OOM), since which boot.

Not covered: which process it killed.
"""

from pathlib import Path

from journeyman.machine.process_status import PROC


def oom_kills(*, proc: Path = PROC) -> int | None:
    """How many processes the kernel has killed for memory since boot; None if it does not say."""
    try:
        lines = (proc / "vmstat").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def boot_id(*, proc: Path = PROC) -> str:
    """The kernel's random id of this boot; empty if it gives none."""
    path = proc / "sys/kernel/random/boot_id"
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""
