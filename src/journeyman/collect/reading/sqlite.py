"""An SQLite file of somebody else's: opened read-only, with bounds, and its errors in words.

Nothing is written: `mode=ro`, `query_only`. Views and triggers of the file are not trusted
(`trusted_schema`), and one value may not be larger than `VALUE_LIMIT_BYTES`.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from journeyman.errors import DataRefused

MAGIC = b"SQLite format 3\x00"
VALUE_LIMIT_BYTES = 64 * 1024 * 1024
STEPS_BETWEEN_LOOKS = 10_000_000
LOOKS_LIMIT = 2_000
"""20 thousand million steps of SQLite's machine for one query: minutes, and then no more."""


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as an SQLite database does."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read. What SQLite cannot read ends as DataRefused."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        ) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_LIMIT_BYTES)
            connection.set_progress_handler(_Looks(), STEPS_BETWEEN_LOOKS)
            connection.row_factory = sqlite3.Row
            # One snapshot, however long the reading takes and whoever writes meanwhile.
            connection.execute("BEGIN")
            yield connection
    except sqlite3.Error as error:
        raise DataRefused(
            f"`{path}` cannot be read as an SQLite database: {error}",
            hint="check it with `sqlite3 FILE 'PRAGMA quick_check'`, or copy it first",
        ) from error


def tables_of(connection: sqlite3.Connection) -> Mapping[str, frozenset[str]]:
    """The columns of each table (not of views)."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {name: _columns(connection, name) for (name,) in names if isinstance(name, str)}


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return frozenset(str(name) for (name,) in found)


class _Looks:
    """Stops a query that takes more steps than any log needs."""

    def __init__(self) -> None:
        self._left = LOOKS_LIMIT

    def __call__(self) -> int:
        self._left -= 1
        return self._left < 0
