"""Starts a run: its command line, the folders that it sees, and its environment.

`strict`: bubblewrap puts it into namespaces. `degraded`: it runs among the machine's processes,
confined only by Landlock and seccomp, in a folder that is removed afterwards.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from journeyman.machine.process_memory import threads_of_user
from journeyman.sandbox.sandbox import MIB, Sandbox

INSIDE = Path(__file__).with_name("inside")
SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
PACKAGES = "/packages"
MARK = "JOURNEYMAN_RUN"
"""Environment variable that marks every process of a run."""

_ISOLATION = (
    *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--clearenv", "--hostname", "sandbox"),
)


class SandboxLayout(Struct, frozen=True):
    """The paths of a run: its scratch folder, and each mounted folder by its name."""

    scratch: str
    places: dict[str, str]
    mark: str

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a run."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": self.scratch,
            "TMPDIR": "/tmp" if self.scratch == "/work" else self.scratch,  # noqa: S108
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "LANG": "C.UTF-8",
            **({MARK: self.mark} if self.mark else {}),
        }


def layout_of(sandbox: Sandbox, folders: Mapping[str, Path], scratch: Path | None) -> SandboxLayout:
    """The paths of a run. folders: names such as `/packages/x`, with folders of the host."""
    if sandbox.profile == "strict":
        return SandboxLayout("/work", {name: name for name in folders}, sandbox.mark)
    assert scratch is not None
    links = scratch.parent / "links"
    for name, folder in folders.items():
        link = links / name.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder.resolve())
    links.mkdir(exist_ok=True)
    return SandboxLayout(str(scratch), {name: f"{links}{name}" for name in folders}, sandbox.mark)


def launch(
    sandbox: Sandbox,
    layout: SandboxLayout,
    folders: Mapping[str, Path],
    *,
    cpu_s: int,
    pipes: tuple[int, int],
    lifeline: int,
) -> subprocess.Popen[bytes]:
    """Start a run with a fresh environment and only the descriptors that it needs.

    pipes: its ends for requests and replies. lifeline: a pipe that closes when this program ends.
    Raises OSError.
    """
    strict = sandbox.profile == "strict"
    seccomp = os.memfd_create("seccomp")
    try:
        os.write(seccomp, sandbox.seccomp)
        os.lseek(seccomp, 0, os.SEEK_SET)
        program = _program(
            sandbox,
            layout,
            folders,
            cpu_s=cpu_s,
            pipes=pipes,
            lifeline=None if strict else lifeline,
        )
        bwrap = _bwrap(sandbox, layout, folders, seccomp) if strict else []
        return subprocess.Popen(
            [*bwrap, *program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(*pipes, seccomp if strict else lifeline),
            start_new_session=True,
            env=layout.environment,
            cwd="/" if strict else layout.scratch,
            user=sandbox.user,
            group=sandbox.user,
            extra_groups=None if sandbox.user is None else [],
        )
    finally:
        os.close(seccomp)


def _program(
    sandbox: Sandbox,
    layout: SandboxLayout,
    folders: Mapping[str, Path],
    *,
    cpu_s: int,
    pipes: tuple[int, int],
    lifeline: int | None,
) -> list[str]:
    """The command line of the program inside."""
    strict = sandbox.profile == "strict"
    readable = [*SYSTEM_FOLDERS, *sandbox.mounts]
    if strict:
        readable += ["/proc", "/dev", PACKAGES, *layout.places.values()]
    else:
        links = Path(layout.scratch).parent / "links"
        readable += [str(links), *(str(folder.resolve()) for folder in folders.values())]
    writable = [layout.scratch, *DEVICES, *(["/tmp", "/dev/shm"] if strict else [])]  # noqa: S108
    others = 0 if strict else threads_of_user(_user_of(sandbox))
    modules = PACKAGES if strict else f"{Path(layout.scratch).parent}/links{PACKAGES}"
    config = {
        "limits": sandbox.limits.inside(cpu_s, others=others),
        "readable": readable,
        "writable": writable,
        "seccomp": "" if strict else sandbox.seccomp.hex(),
        "lifeline": lifeline,
        "modules": [modules],
    }
    python = [sandbox.python, "-I", "-S", "-B", "-X", "utf8", "-c", source_of("confinement")]
    return [*python, json.dumps(config), source_of("worker"), *map(str, pipes)]


def _user_of(sandbox: Sandbox) -> int:
    return os.geteuid() if sandbox.user is None else sandbox.user


def source_of(name: str) -> str:
    """The source of a program in `inside`."""
    return (INSIDE / f"{name}.py").read_text(encoding="utf-8")


def _bwrap(
    sandbox: Sandbox, layout: SandboxLayout, folders: Mapping[str, Path], seccomp: int
) -> list[str]:
    """bwrap with its flags. seccomp: descriptor of the filter."""
    flags = [str(sandbox.bwrap), *_ISOLATION, *_system_mounts()]
    for name, value in layout.environment.items():
        flags += ["--setenv", name, value]
    for inside, folder in (sandbox.mounts | dict(folders)).items():
        flags += ["--ro-bind", str(folder), inside]
    scratch = str(sandbox.limits.scratch_bytes)
    flags += ["--proc", "/proc", "--dev", "/dev"]
    # Without this, /dev is a writable tmpfs of half the memory.
    flags += ["--size", str(16 * MIB), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    flags += ["--size", scratch, "--tmpfs", "/tmp", "--size", scratch, "--tmpfs", "/work"]  # noqa: S108
    flags += ["--remount-ro", "/", "--chdir", "/work", "--cap-drop", "ALL"]
    return [*flags, "--seccomp", str(seccomp), "--"]


def _system_mounts() -> list[str]:
    """Read-only /usr, and /bin, /lib and the like as on this system."""
    flags = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM_FOLDERS[1:]:
        path = Path(name)
        if path.is_symlink():
            flags += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            flags += ["--ro-bind", name, name]
    return flags
