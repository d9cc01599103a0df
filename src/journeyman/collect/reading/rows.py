"""The rows of a log with their values: lines of a JSON lines file, or entries of one JSON list.

Covered: strict JSON with line numbers in both kinds. Not covered: lists above `LIST_LIMIT_BYTES`,
which would have to be held in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from journeyman.data.interactions import rows_with_tail
from journeyman.data.strict_json import at_the_tail, decoded, words
from journeyman.errors import UsageError
from journeyman.files import LINE_LIMIT_BYTES, LineFault, NumberedLine, checked_row

LIST_LIMIT_BYTES = 256 * 1024 * 1024
HEAD_BYTES = 4096
_MARK = b"\xef\xbb\xbf"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])

T = TypeVar("T")


class Value(Struct, Generic[T], frozen=True):
    """A row that was read: its line from 1, and its value."""

    line: int
    value: T


def values_of(path: Path, decoder: msgspec.json.Decoder[T]) -> Iterator[Value[T] | LineFault]:
    """The values of a file's rows in its order, each checked against its type.

    Raises UsageError where the file is missing, not UTF-8, or a list that cannot be read.
    """
    for row, is_tail in _rows_of(path):
        value = _value(row, decoder)
        yield at_the_tail(value) if is_tail and isinstance(value, LineFault) else value


def _value(row: NumberedLine | LineFault, decoder: msgspec.json.Decoder[T]) -> Value[T] | LineFault:
    if isinstance(row, LineFault):
        return row
    found = decoded(row, decoder)
    return found if isinstance(found, LineFault) else Value(row.line, found)


def is_list(path: Path) -> bool:
    """Whether a file is one JSON list, and not lines of which the first happens to be a list."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES).removeprefix(_MARK).lstrip()
    line, _, rest = head.partition(b"\n")
    one_of_many = line.rstrip().endswith(b"]") and bool(rest.strip())
    return head.startswith(b"[") and not one_of_many


def _rows_of(path: Path) -> Iterator[tuple[NumberedLine | LineFault, bool]]:
    if not path.is_file() or not is_list(path):
        yield from rows_with_tail(path)
        return
    for entry in _entries(path):
        yield entry, False


def _entries(path: Path) -> Iterator[NumberedLine | LineFault]:
    size = path.stat().st_size
    if size > LIST_LIMIT_BYTES:
        raise UsageError(
            f"`{path}` is one JSON list of {size:,} bytes, the limit is {LIST_LIMIT_BYTES:,}",
            hint=f"write one entry a line: jq -c '.[]' {path.name} > rows.jsonl",
        )
    data = path.read_bytes().removeprefix(_MARK)
    end, line = 0, 1
    for entry in _split(data, path):
        text = bytes(entry)
        start = data.index(text, end)
        line += data.count(b"\n", end, start)
        yield _entry(line, text)
        line += text.count(b"\n")
        end = start + len(text)


def _split(data: bytes, path: Path) -> list[msgspec.Raw]:
    try:
        return _LIST.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(
            f"`{path}` starts as a JSON list and is none: {words(error)}",
            hint="mend the file, or write one entry a line",
        ) from error


def _entry(line: int, text: bytes) -> NumberedLine | LineFault:
    if len(text) > LINE_LIMIT_BYTES:
        return LineFault(line, f"longer than {LINE_LIMIT_BYTES // 1024**2} MiB")
    return checked_row(line, text)
