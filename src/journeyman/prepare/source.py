"""The log to read: found, read once from end to end, and known to be the one that was hashed."""

from collections.abc import Iterator
from pathlib import Path

from journeyman.data.interactions import read_interactions
from journeyman.errors import IntegrityError, MachineError, UsageError
from journeyman.events import Note, Progress, ProgressEnded, Reporter, counted
from journeyman.files import LineFault, sha256_of
from journeyman.records import Interaction

LOGS = Path("data/training")
PATTERN = "interactions_*.jsonl"
_ROWS_BETWEEN_REPORTS = 1000


def find_log(given: Path | None, report: Reporter) -> Path:
    """The log that was named, else the one last changed of the default place (then by name).

    Raises UsageError that says where it looked.
    """
    if given is not None:
        return given
    found = sorted(
        (path for path in LOGS.glob(PATTERN) if path.is_file()),
        key=lambda path: (path.stat().st_mtime_ns, path.name),
    )
    if not found:
        raise UsageError(
            f"there is no log: nothing is called `{LOGS / PATTERN}` in `{Path.cwd()}`",
            hint="name one with `--input FILE`, or make one from code that you have:"
            " `journeyman collect python PACKAGE`",
        )
    others = f", the newest of {len(found)}" if len(found) > 1 else ""
    report(Note(f"reading `{found[-1]}`{others}"))
    return found[-1]


def hash_of(path: Path) -> str:
    """Hex sha256 of the log. Raises UsageError where it is missing, MachineError if unreadable."""
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path given with `--input`")
    try:
        return sha256_of(path)
    except OSError as error:
        raise MachineError(
            f"cannot read `{path}`: {error.strerror or error}", hint="check its permissions"
        ) from error


def read_log(path: Path, sha256: str, report: Reporter) -> Iterator[Interaction | LineFault]:
    """The rows of the log, one at a time; progress is told every 1000 rows.

    Raises IntegrityError after the last one where the file is no longer the one that was hashed.
    """
    count = 0
    for row in read_interactions(path, report):
        count += 1
        if count % _ROWS_BETWEEN_REPORTS == 0:
            report(Progress("read", count, unit="rows"))
        yield row
    report(ProgressEnded("read", f"read {counted(count, 'row', 'rows')} of `{path}`"))
    if hash_of(path) != sha256:
        raise IntegrityError(
            f"`{path}` changed while it was read",
            hint="wait until nothing writes to it, or copy it and name the copy with `--input`",
        )
