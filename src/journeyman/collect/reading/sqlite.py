"""Reads an SQLite file of another program: read-only, with limits, and with clear errors.

Nothing is written: `mode=ro`, `query_only`. Views and triggers of the file are not trusted
(`trusted_schema`), and one value may not be larger than `VALUE_LIMIT_BYTES`.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from journeyman.collect.reading.row_result import BrokenRow
from journeyman.errors import DataRefused

MAGIC = b"SQLite format 3\x00"
VALUE_LIMIT_BYTES = 64 * 1024 * 1024
STEPS_BETWEEN_CHECKS = 10_000_000
CHECKS_LIMIT = 2_000
"""A query may take 2e10 steps of SQLite's virtual machine (minutes), then it is stopped."""

Tables = Mapping[str, frozenset[str]]
"""The columns of each table."""


def is_sqlite(path: Path) -> bool:
    """Whether a file starts like an SQLite database."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


@contextlib.contextmanager
def open_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read. An error of SQLite becomes DataRefused."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        ) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_LIMIT_BYTES)
            connection.set_progress_handler(_StepLimit(), STEPS_BETWEEN_CHECKS)
            connection.row_factory = sqlite3.Row
            # One snapshot, even if another program writes meanwhile.
            connection.execute("BEGIN")
            yield connection
    except sqlite3.Error as error:
        raise DataRefused(
            f"`{path}` cannot be read as an SQLite database: {error}",
            hint="check it with `sqlite3 FILE 'PRAGMA quick_check'`, or copy it first",
        ) from error


def tables_of(connection: sqlite3.Connection) -> Tables:
    """The columns of each table (views are ignored)."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {name: _columns(connection, name) for (name,) in names if isinstance(name, str)}


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    names = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return frozenset(str(name) for (name,) in names)


def text_at(row: sqlite3.Row, column: str) -> str | None:
    """The text of a column; None if it is null or an older table lacks the column.

    Raises BrokenRow for anything else: SQLite stores any type in any column.
    """
    value = _value_at(row, column)
    if value is None or isinstance(value, str):
        return value
    raise BrokenRow(f"expected `str | null`, got `{type(value).__name__}` - at `{column}`")


def whole_at(row: sqlite3.Row, column: str) -> int | None:
    """The whole number of a column, otherwise like `text_at`."""
    value = _value_at(row, column)
    if value is None or isinstance(value, int):
        return value
    raise BrokenRow(f"expected `int | null`, got `{type(value).__name__}` - at `{column}`")


def _value_at(row: sqlite3.Row, column: str) -> object:
    return row[column] if column in row.keys() else None  # noqa: SIM118 - `in` searches the values


class _StepLimit:
    """Stops a query that takes more steps than any log needs."""

    def __init__(self) -> None:
        self._left = CHECKS_LIMIT

    def __call__(self) -> int:
        self._left -= 1
        return self._left < 0
