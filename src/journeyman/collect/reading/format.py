"""What every importer is made of: a name, how to recognise its files, and how to read them.

An importer gives a list of items for every row of its file, never an empty one, with that row's
line: Interactions, a LineFault (broken), or a LeftOut (sound, but nothing to learn from).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from journeyman.collect.reading.rows import values_of
from journeyman.files import LineFault
from journeyman.records import Interaction

T = TypeVar("T")
JsonObject = Mapping[str, object]


class SkippedLogRow(Struct, frozen=True):
    """A sound row that gives no interaction: its line from 1, and why."""

    line: int
    reason: str


Item = Interaction | LineFault | SkippedLogRow
RowReader = Callable[[Path, str], Iterator[list[Item]]]


class Faulty(Exception):
    """A row is broken; the text says which field and why."""


class Unusable(Exception):
    """A row is sound and cannot be said in turns of text; the text says why."""


class Sample(Struct, frozen=True):
    """The beginning of a file: what it is, its first objects, and its tables where it has any."""

    kind: Literal["JSON lines", "JSON list", "SQLite database"]
    rows: tuple[JsonObject, ...] = ()
    tables: Mapping[str, frozenset[str]] = {}


class Format(Struct, frozen=True):
    """One log format.

    `misfit` counts the rows of a sample that look like this format, and says why one does not.
    `read` takes a path and the agent role for rows that name none.
    """

    name: str
    what: str
    misfit: Callable[[Sample], "FormatMatch"]
    read: RowReader


class FormatMatch(Struct, frozen=True):
    """How a sample fits a format: `k` of `n` rows do; `reason` is why the first other one does not.

    A sample fits where more than half of its rows do: a log may hold broken ones.
    """

    k: int
    n: int
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether the file can be of this format."""
        return 2 * self.k > self.n


def by_row(reason_against: Callable[[JsonObject], str]) -> Callable[[Sample], FormatMatch]:
    """A `misfit` that looks at each row by itself; the reason is empty where a row fits."""

    def misfit(sample: Sample) -> FormatMatch:
        if sample.kind == "SQLite database":
            return FormatMatch(0, 1, "it is an SQLite database")
        reasons = [reason_against(row) for row in sample.rows]
        against = [reason for reason in reasons if reason]
        return FormatMatch(
            k=len(reasons) - len(against),
            n=len(reasons),
            reason=against[0] if against else "it holds no JSON object",
        )

    return misfit


def by_type(kind: type[T], items_of: Callable[[T, int, str], Iterable[Item]]) -> RowReader:
    """A `read` for files whose rows stand for themselves: decode each, then make its items.

    items_of: takes the row, its line and the agent role; what it raises is about this row alone.
    """
    decoder = msgspec.json.Decoder(kind)

    def read(path: Path, agent: str) -> Iterator[list[Item]]:
        for row in values_of(path, decoder):
            if isinstance(row, LineFault):
                yield [row]
            else:
                yield made(row.line, partial(items_of, row.value, row.line, agent))

    return read


def made(line: int, items_of: Callable[[], Iterable[Item]]) -> list[Item]:
    """All items of one row, or the one that says why there is none."""
    try:
        return list(items_of())
    except Faulty as fault:
        return [LineFault(line, str(fault))]
    except Unusable as reason:
        return [SkippedLogRow(line, str(reason))]
