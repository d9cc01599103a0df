"""What every log format consists of: a name, how to recognise its files, and how to read them.

A reader gives a list of results for every row of a file, never an empty one, each with the row's
line: Interactions, a LineFault (a broken row) or a SkippedLogRow (a sound row without a call).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from journeyman.collect.reading.json_rows import JsonObject, parsed_rows
from journeyman.collect.reading.model_call import ModelCall, RowSource, interaction_of
from journeyman.collect.reading.row_result import (
    BrokenRow,
    RowResult,
    SkippedLogRow,
    UnusableRow,
)
from journeyman.files import LineFault

T = TypeVar("T")
LogReader = Callable[[Path, str], Iterator[list[RowResult]]]


class Sample(Struct, frozen=True):
    """The beginning of a file: its kind, its first objects, and the tables of a database."""

    kind: Literal["JSON lines", "JSON list", "SQLite database"]
    rows: tuple[JsonObject, ...] = ()
    tables: Mapping[str, frozenset[str]] = {}


class FormatMatch(Struct, frozen=True):
    """How many rows of a sample match a format, and why the first other one does not."""

    matching: int
    rows: int
    reason: str = ""

    @property
    def is_match(self) -> bool:
        """Whether more than half of the rows match: a log may hold broken ones."""
        return 2 * self.matching > self.rows


class Format(Struct, frozen=True):
    """One log format.

    `match` compares a sample with the format. `read` takes a file and the agent role of rows that
    do not name one.
    """

    name: str
    description: str
    match: Callable[[Sample], FormatMatch]
    read: LogReader


def match_rows(mismatch: Callable[[JsonObject], str]) -> Callable[[Sample], FormatMatch]:
    """A `match` that checks each row on its own.

    mismatch: says why a row is not of this format; empty if it is.
    """

    def match(sample: Sample) -> FormatMatch:
        if sample.kind == "SQLite database":
            return FormatMatch(0, 1, "the file is an SQLite database")
        reasons = [mismatch(row) for row in sample.rows]
        mismatches = [reason for reason in reasons if reason]
        return FormatMatch(
            matching=len(reasons) - len(mismatches),
            rows=len(reasons),
            reason=mismatches[0] if mismatches else "the file has no JSON object",
        )

    return match


def read_rows(name: str, kind: type[T], calls_in: Callable[[T], Iterable[ModelCall]]) -> LogReader:
    """A `read` for files whose rows are independent of each other.

    calls_in: the model calls of one row; raises BrokenRow or UnusableRow.
    """
    decoder = msgspec.json.Decoder(kind)

    def read(path: Path, agent: str) -> Iterator[list[RowResult]]:
        for row in parsed_rows(path, decoder):
            if isinstance(row, LineFault):
                yield [row]
            else:
                source = RowSource(line=row.line, format=name, agent=agent)
                yield row_results(source, partial(calls_in, row.value))

    return read


def row_results(source: RowSource, calls_in: Callable[[], Iterable[ModelCall]]) -> list[RowResult]:
    """The interactions of one row, or the reason why there are none."""
    try:
        return [interaction_of(call, source) for call in calls_in()]
    except BrokenRow as fault:
        return [LineFault(source.line, str(fault))]
    except UnusableRow as reason:
        return [SkippedLogRow(source.line, str(reason))]
