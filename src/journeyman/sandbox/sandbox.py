"""The sandbox's record: what one run may use, and the way in which it is shut in."""

from pathlib import Path
from typing import Literal

from msgspec import Struct

MIB = 1024 * 1024

Profile = Literal["strict", "degraded"]


class Limits(Struct, frozen=True):
    """What one run may use. The memory of all its processes together is watched from outside."""

    address_space_bytes: int = 1024 * MIB
    total_memory_bytes: int = 1536 * MIB
    file_bytes: int = 16 * MIB
    scratch_bytes: int = 64 * MIB
    open_files: int = 64
    processes: int = 32
    stack_bytes: int = 64 * MIB
    output_bytes: int = 256 * 1024
    answer_bytes: int = 256 * 1024

    def inside(self, cpu_s: int, *, others: int = 0) -> dict[str, int]:
        """Resource limits by name, for the program inside to set upon itself.

        NPROC must be set inside: it counts per user namespace there, and outside it would count
        the user's other processes too. others: those, where there is no namespace.
        """
        return {
            "AS": self.address_space_bytes,
            "CPU": cpu_s,
            "FSIZE": self.file_bytes,
            "NOFILE": self.open_files,
            "NPROC": self.processes + others,
            "STACK": self.stack_bytes,
            "CORE": 0,
        }


class Sandbox(Struct, frozen=True):
    """A way to run Python that has been proved on this machine.

    `bwrap` is None in the profile `degraded`. `user` is None where the program is not run by root:
    the sandbox then has the caller's own id. `mounts` are folders that must be readable besides
    /usr, by path inside: a Python of its own. `landlock` is the kernel's version, 0 for none.
    `mark` goes into the environment of every process of a run, so that it can be found again.
    """

    bwrap: Path | None
    python: str
    mounts: dict[str, Path]
    user: int | None
    seccomp: bytes
    landlock: int = 0
    limits: Limits = Limits()
    profile: Profile = "strict"
    mark: str = ""
