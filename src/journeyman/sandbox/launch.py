"""How a run is started: the command line, the folders that it sees, and its environment.

`strict`: bubblewrap makes namespaces around it. `degraded`: it runs among the machine's processes,
shut in by Landlock and seccomp alone, in a folder that is removed afterwards.
"""

import json
import os
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
    """What a run finds where: its scratch folder, and mounted folders by the name asked for."""

    scratch: str
    places: dict[str, str]
    mark: str

    @property
    def environment(self) -> dict[str, str]:
        """All of the environment that a run gets."""
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
    """Where a run finds things. folders: name, such as `/packages/x`, to a folder of the host."""
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


def command(
    sandbox: Sandbox,
    layout: SandboxLayout,
    folders: Mapping[str, Path],
    *,
    cpu_s: int,
    pipes: tuple[int, int],
    rules: int,
    lifeline: int | None,
) -> list[str]:
    """The whole command line. rules: descriptor of the seccomp filter, for bwrap."""
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
    python = [sandbox.python, "-I", "-S", "-B", "-X", "utf8", "-c", helper("confinement")]
    program = [*python, json.dumps(config), helper("worker"), *map(str, pipes)]
    return [*_bwrap(sandbox, layout, folders, rules), *program] if strict else program


def _user_of(sandbox: Sandbox) -> int:
    return os.geteuid() if sandbox.user is None else sandbox.user


def helper(name: str) -> str:
    """The text of a program for the inside."""
    return (INSIDE / f"{name}.py").read_text(encoding="utf-8")


def _bwrap(
    sandbox: Sandbox, layout: SandboxLayout, folders: Mapping[str, Path], rules: int
) -> list[str]:
    """bwrap and its flags."""
    flags = [str(sandbox.bwrap), *_ISOLATION, *_system_mounts()]
    for name, value in layout.environment.items():
        flags += ["--setenv", name, value]
    for inside, folder in (sandbox.mounts | dict(folders)).items():
        flags += ["--ro-bind", str(folder), inside]
    scratch = str(sandbox.limits.scratch_bytes)
    flags += ["--proc", "/proc", "--dev", "/dev"]
    # /dev is a writable tmpfs of half the memory unless /dev/shm is capped and /dev closed.
    flags += ["--size", str(16 * MIB), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    flags += ["--size", scratch, "--tmpfs", "/tmp", "--size", scratch, "--tmpfs", "/work"]  # noqa: S108
    flags += ["--remount-ro", "/", "--chdir", "/work", "--cap-drop", "ALL"]
    return [*flags, "--seccomp", str(rules), "--"]


def _system_mounts() -> list[str]:
    """/usr read-only, and /bin, /lib and their like as this system has them."""
    flags = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM_FOLDERS[1:]:
        path = Path(name)
        if path.is_symlink():
            flags += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            flags += ["--ro-bind", name, name]
    return flags
