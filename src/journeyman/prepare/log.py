"""Find the log, read it once, check that it did not change; keep its rows on the disk (`Spill`).

Rows wait on the disk while the whole log is examined, so that no text waits in memory. Their file
has no name, so nothing is left of it even after a crash.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from journeyman.data.interactions import read_interactions
from journeyman.errors import IntegrityError, MachineError, UsageError
from journeyman.events import Note, Progress, ProgressEnded, Reporter, counted
from journeyman.files import LineFault, sha256_of
from journeyman.prepare.framing import read_message, write_message
from journeyman.records import Interaction

LOGS = Path("data/training")

PATTERN = "interactions_*.jsonl"

_ROWS_BETWEEN_REPORTS = 1000


def find_log(given: Path | None, report: Reporter) -> Path:
    """The given log, else the newest one in the default folder (by time of change, then name).

    Raises UsageError that names the folder.
    """
    if given is not None:
        return given
    logs = sorted(
        (path for path in LOGS.glob(PATTERN) if path.is_file()),
        key=lambda path: (path.stat().st_mtime_ns, path.name),
    )
    if not logs:
        raise UsageError(
            f"no log found: no file matches `{LOGS / PATTERN}` in `{Path.cwd()}`",
            hint="name one with `--input FILE`, or make one from code that you have:"
            " `journeyman collect python PACKAGE`",
        )
    others = f", the newest of {len(logs)}" if len(logs) > 1 else ""
    report(Note(f"reading `{logs[-1]}`{others}"))
    return logs[-1]


def hash_of(path: Path) -> str:
    """Hex sha256 of the log. Raises UsageError if it is missing, MachineError if unreadable."""
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path given with `--input`")
    try:
        return sha256_of(path)
    except OSError as error:
        raise MachineError(
            f"cannot read `{path}`: {error.strerror or error}", hint="check its permissions"
        ) from error


def read_log(path: Path, sha256: str, report: Reporter) -> Iterator[Interaction | LineFault]:
    """The rows of the log, one at a time; progress is reported every 1000 rows.

    Raises IntegrityError after the last row if the file has changed since it was hashed.
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
            hint="wait until no program writes to it, or copy it and use the copy with `--input`",
        )


class Spill:
    """Interactions on the disk, in order; a context manager that can be iterated many times.

    scratch: a folder with room for the whole log; by default the system's temporary one.
    """

    def __init__(self, *, scratch: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by __exit__
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Interaction)

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, interaction: Interaction) -> None:
        """Add a row. Not during an iteration."""
        write_message(self._file, self._encoder.encode(interaction))

    def __iter__(self) -> Iterator[Interaction]:
        return map(self._decoder.decode, self.encoded())

    def encoded(self) -> Iterator[bytes]:
        """The rows as MessagePack, to be passed on without decoding."""
        self._file.seek(0)
        while (data := read_message(self._file)) is not None:
            yield data
