"""Temporary folders that do not pile up: the next start removes those of killed processes.

Each folder holds a file that its owner has locked; the kernel releases the lock when the owner
ends, in whatever way. Only this user's folders are considered, and only unlocked ones removed.
Not covered: folders that other code made, or under another TMPDIR.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from journeyman.errors import MachineError

PREFIX = "journeyman-"
OWNER_FILE = ".owner"


class OwnedFolder:
    """A new folder that `close` removes; only this user can read it unless `open_to_all`.

    Raises MachineError if it cannot be made.
    """

    def __init__(self, purpose: str, *, open_to_all: bool = False) -> None:
        remove_abandoned()
        try:
            # Locked before it gets its name: an unlocked folder of that name may be removed.
            made = Path(tempfile.mkdtemp(prefix=".making-"))
            self._lock = os.open(made / OWNER_FILE, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unique = made.name.removeprefix(".making-")
            self.path = made.rename(made.with_name(f"{PREFIX}{purpose}-{unique}"))
        except OSError as error:
            raise MachineError(
                f"cannot create a folder in `{tempfile.gettempdir()}`: {error.strerror or error}",
                hint="free some space there, or set TMPDIR to another folder",
            ) from error
        if open_to_all:
            self.path.chmod(0o755)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder and its contents; a second call does nothing."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def remove_abandoned() -> list[Path]:
    """Remove this user's folders whose owner has ended; gives their paths."""
    removed: list[Path] = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with _unlocked(folder) as abandoned:
            if abandoned:
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


@contextlib.contextmanager
def _unlocked(folder: Path) -> Iterator[bool]:
    """Whether a folder is ours and its owner has ended; it stays locked during the block."""
    try:
        mine = not folder.is_symlink() and folder.stat().st_uid == os.geteuid()
        handle = os.open(folder / OWNER_FILE, os.O_RDWR | os.O_NOFOLLOW) if mine else -1
    except OSError:
        # No owner file: another program's folder, or one that is just being made.
        yield False
        return
    if handle < 0:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)
