"""The rows of a JSON log with their values: lines of a JSON lines file, or entries of one list.

Covered: strict JSON with line numbers in both kinds. Not covered: lists above `LIST_LIMIT_BYTES`,
because a list is held in memory.
"""

from collections.abc import Iterator, Mapping
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
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LIST = msgspec.json.Decoder(list[msgspec.Raw])

T = TypeVar("T")
JsonObject = Mapping[str, object]


class ParsedRow(Struct, Generic[T], frozen=True):
    """A row: its line from 1, and its value."""

    line: int
    value: T


def parsed_rows(path: Path, decoder: msgspec.json.Decoder[T]) -> Iterator[ParsedRow[T] | LineFault]:
    """The values of a file's rows in order, each checked against the decoder's type.

    Raises UsageError if the file is missing, not UTF-8, or a list that cannot be parsed.
    """
    for row, is_tail in _rows_of(path):
        parsed = _parsed(row, decoder)
        yield at_the_tail(parsed) if is_tail and isinstance(parsed, LineFault) else parsed


def _parsed(
    row: NumberedLine | LineFault, decoder: msgspec.json.Decoder[T]
) -> ParsedRow[T] | LineFault:
    if isinstance(row, LineFault):
        return row
    value = decoded(row, decoder)
    return value if isinstance(value, LineFault) else ParsedRow(row.line, value)


def is_list(path: Path) -> bool:
    """Whether a file is one JSON list, not lines of which the first happens to be a list."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES).removeprefix(_BYTE_ORDER_MARK).lstrip()
    line, _, rest = head.partition(b"\n")
    one_of_many = line.rstrip().endswith(b"]") and bool(rest.strip())
    return head.startswith(b"[") and not one_of_many


def json_object(value: object) -> JsonObject | None:
    """A JSON object, also as JSON text in a string; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _rows_of(path: Path) -> Iterator[tuple[NumberedLine | LineFault, bool]]:
    """Every row, and whether it is a last line without a line end."""
    if not path.is_file() or not is_list(path):
        yield from rows_with_tail(path)
        return
    for entry in _entries(path):
        yield entry, False


def _entries(path: Path) -> Iterator[NumberedLine | LineFault]:
    """The entries of a list, each with the line that it starts on."""
    size = path.stat().st_size
    if size > LIST_LIMIT_BYTES:
        raise UsageError(
            f"`{path}` is one JSON list of {size:,} bytes, the limit is {LIST_LIMIT_BYTES:,}",
            hint=f"write one entry per line: jq -c '.[]' {path.name} > rows.jsonl",
        )
    data = path.read_bytes().removeprefix(_BYTE_ORDER_MARK)
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
            f"`{path}` starts with `[` but is not a JSON list: {words(error)}",
            hint="repair the file, or write one entry per line",
        ) from error


def _entry(line: int, text: bytes) -> NumberedLine | LineFault:
    if len(text) > LINE_LIMIT_BYTES:
        return LineFault(line, f"longer than {LINE_LIMIT_BYTES // 1024**2} MiB")
    return checked_row(line, text)
