"""The records of a sandbox: the limits of a run, and how it is confined."""

from pathlib import Path
from typing import Literal

from msgspec import Struct

MIB = 1024 * 1024

Profile = Literal["strict", "degraded"]


class Limits(Struct, frozen=True):
    """The limits of one run. The memory of all its processes together is watched from outside."""

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
        """Resource limits by name, which the program inside sets for itself.

        NPROC must be set inside: there it counts per user namespace, outside it would count the
        user's other processes too. others: their number, if there is no namespace.
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
    """A way to run Python in confinement on this machine.

    `bwrap` is None in the profile `degraded`. `user` is None if this program does not run as root:
    the sandbox then has the caller's user id. `mounts` are further folders by their path inside:
    those of a Python outside /usr. `landlock` is the kernel's version, 0 for none. `mark` is in the
    environment of every process of a run, so that they can be found.
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
