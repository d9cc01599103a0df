"""train.jsonl, val.jsonl and test.jsonl: training rows, one a line, each checked when read."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from journeyman.errors import DataRefused, UsageError
from journeyman.files import LineFault, read_records, write_records
from journeyman.records import Example

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
    for line, row in enumerate(read_records(path, Example), start=1):
        if isinstance(row, LineFault):
            faults.append(f"`{path}` line {row.line}: {row.reason[:1].lower()}{row.reason[1:]}")
            continue
        faults += [f"`{path}` row {line}: {reason}" for reason in _faults(row, line, seen)]
        examples.append(row)
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise DataRefused("\n".join(faults[:_SHOWN] + more), hint=_AGAIN)
    if not examples:
        raise DataRefused(f"`{path}` holds no rows", hint=_AGAIN)
    return examples


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write rows, whole or not at all. Gives how many."""
    return write_records(path, examples)


def _faults(example: Example, line: int, seen: dict[str, int]) -> Iterator[str]:
    first = seen.setdefault(example.id, line)
    if first != line:
        yield f"`$.id` `{example.id}` is that of row {first}"
    if not example.messages or example.messages[-1].role != "assistant":
        yield "`$.messages` does not end with an `assistant` turn"
    elif not example.messages[-1].content.strip():
        yield f"`$.messages[{len(example.messages) - 1}].content` is blank"
