"""A dataset folder as other stages read it: the rows of its splits, and its metadata.json.

Every row is checked when it is read. `prepare` writes all of it.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.errors import DataRefused, UsageError
from journeyman.files import LineFault, NumberedLine, read_lines
from journeyman.records import Example

TRAIN, VAL, TEST = "train.jsonl", "val.jsonl", "test.jsonl"

METADATA, LEDGER, PAGE = "metadata.json", "ledger.jsonl", "report.html"

_DECODER = msgspec.json.Decoder(Example)

_SHOWN = 10

_PREPARE_AGAIN = "run `journeyman prepare` again; the file was changed or has another version"


def read_examples(path: Path) -> list[Example]:
    """All rows of one split. Raises DataRefused that names every bad line (the first ten).

    A row must end with an answer that is not empty, and no two rows may have the same id.
    Raises UsageError if the file is missing, DataRefused also if it has no rows.
    """
    if not path.is_file():
        raise UsageError(
            f"`{path}` is not a file", hint="run `journeyman prepare` first, or name its folder"
        )
    examples: list[Example] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for row in read_lines(path):
        example = _decoded(row)
        if isinstance(example, Example):
            examples.append(example)
            reasons = list(_faults(example, row.line, seen))
        else:
            reasons = [example]
        faults += [f"`{path}` line {row.line}: {reason}" for reason in reasons]
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise DataRefused("\n".join(faults[:_SHOWN] + more), hint=_PREPARE_AGAIN)
    if not examples:
        raise DataRefused(f"`{path}` has no rows", hint=_PREPARE_AGAIN)
    return examples


def _decoded(row: NumberedLine | LineFault) -> Example | str:
    if isinstance(row, LineFault):
        return row.reason
    try:
        return _DECODER.decode(row.data)
    except msgspec.DecodeError as error:
        return str(error)[:1].lower() + str(error)[1:]


def _faults(example: Example, line: int, seen: dict[str, int]) -> Iterator[str]:
    first = seen.setdefault(example.id, line)
    if first != line:
        yield f"`$.id` `{example.id}` is already used in line {first}"
    if not example.messages or example.messages[-1].role != "assistant":
        yield "`$.messages` does not end with an `assistant` turn"
    elif not example.messages[-1].content.strip() and not example.messages[-1].tool_calls:
        yield f"`$.messages[{len(example.messages) - 1}].content` is blank"


class LoggedCalls(Struct, frozen=True):
    """How the logged system did: k of n calls succeeded, and the latency of the timed ones."""

    n: int | None = None
    k: int | None = None
    latency_n: int | None = None
    mean_latency_s: float | None = None
    median_latency_s: float | None = None


class DatasetMetadata(Struct, frozen=True):
    """The part of metadata.json that other stages use; every field may be missing in old files."""

    base: str | None = None
    template_sha256: str | None = None
    total_interactions: int | None = None
    successful_interactions: int | None = None
    baseline: LoggedCalls | None = None


def read_metadata(folder: Path) -> DatasetMetadata:
    """The metadata of a dataset folder; all fields are None if it has no metadata.json.

    Unknown fields are ignored. Raises DataRefused if the file is damaged or a field has another
    type.
    """
    path = folder / METADATA
    if not path.is_file():
        return DatasetMetadata()
    try:
        return msgspec.json.decode(path.read_bytes(), type=DatasetMetadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataRefused(
            f"cannot read `{path}`: {error}", hint="run `journeyman prepare` again"
        ) from error
