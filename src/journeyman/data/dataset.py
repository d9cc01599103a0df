"""train.jsonl, val.jsonl and test.jsonl: training rows, one a line, each checked when read."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from journeyman.errors import DataRefused, UsageError
from journeyman.files import LineFault, NumberedLine, read_lines
from journeyman.records import Example

_DECODER = msgspec.json.Decoder(Example)

_SHOWN = 10

_AGAIN = "run `journeyman prepare` again; the file was changed or is of another version"


def read_examples(path: Path) -> list[Example]:
    """All rows of one split. Raises DataRefused that names every bad line (the first ten).

    A row must end with an answer that holds text, and no two rows may have the same id.
    UsageError where the file is missing; DataRefused where it holds no rows.
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
        raise DataRefused("\n".join(faults[:_SHOWN] + more), hint=_AGAIN)
    if not examples:
        raise DataRefused(f"`{path}` holds no rows", hint=_AGAIN)
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
        yield f"`$.id` `{example.id}` is that of line {first}"
    if not example.messages or example.messages[-1].role != "assistant":
        yield "`$.messages` does not end with an `assistant` turn"
    elif not example.messages[-1].content.strip() and not example.messages[-1].tool_calls:
        yield f"`$.messages[{len(example.messages) - 1}].content` is blank"


TRAIN, VAL, TEST = "train.jsonl", "val.jsonl", "test.jsonl"

METADATA, LEDGER, PAGE = "metadata.json", "ledger.jsonl", "report.html"
