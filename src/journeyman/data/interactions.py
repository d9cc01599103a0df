"""Read and check the user's log of interactions line by line, and write it in the same format.

Covered: every line is either an Interaction or a LineFault that names the line, the field and the
reason. Not covered: the quality of an answer (`journeyman.prepare.rules`).
Memory: one line at a time, and about 300 bytes a row for the ids.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import UNSET

from journeyman.data.log_row import LogRow, content_of, to_interaction, to_row
from journeyman.data.log_turns import fault_of_calls, fault_of_tools
from journeyman.data.strict_json import at_the_tail, control_in, decoded
from journeyman.events import Caution, Reporter, counted, ignore
from journeyman.files import LineFault, NumberedLine, content_id, read_lines, write_records
from journeyman.records import Interaction

_DECODER = msgspec.json.Decoder(LogRow)


def read_interactions(path: Path, report: Reporter = ignore) -> Iterator[Interaction | LineFault]:
    """The interactions of a log in order, one at a time; a bad line is a LineFault.

    A row keeps the log's `id` if no earlier row has it. A row that repeats an earlier id and its
    content gets the same id, so that a reader can count it once. With other content, or without an
    id, the id is a hash of the content.
    Raises UsageError if the file is missing or is not UTF-8.
    """
    ids = _Ids()
    for row, is_tail in rows_with_tail(path):
        logged = row if isinstance(row, LineFault) else _logged(row)
        if isinstance(logged, LogRow):
            yield to_interaction(logged, row_id=ids.of(logged), line=row.line, source=path.name)
        else:
            yield at_the_tail(logged) if is_tail else logged
    if ids.taken:
        report(
            Caution(
                f"`{path}`: {counted(ids.taken, 'row has', 'rows have')} the `id` of an earlier row"
                " but other content; ids made from the content are used instead",
                hint="give every interaction a different `id`",
            )
        )


def write_interactions(path: Path, interactions: Iterable[Interaction]) -> int:
    """Write a log that `read_interactions` reads back unchanged; gives the number of rows."""
    return write_records(path, map(to_row, interactions))


class _Ids:
    """The ids given so far, and the content of each."""

    def __init__(self) -> None:
        self._content: dict[str, str] = {}
        self.taken = 0

    def of(self, row: LogRow) -> str:
        """The id of the next row."""
        content = content_of(row)
        wanted = "" if row.id is None else str(row.id).strip()
        if wanted and self._content.setdefault(wanted, content) == content:
            return wanted
        self.taken += bool(wanted)
        number, made = 1, content
        # Rows without an id may have equal content and still be two interactions.
        while made in self._content:
            number += 1
            made = content_id(content, str(number))
        self._content[made] = content
        return made


def rows_with_tail(path: Path) -> Iterator[tuple[NumberedLine | LineFault, bool]]:
    """Every row, and whether it is the last one and has no line end, as after a crash.

    Many programs end a file without a line end, so this alone is not a fault.
    """
    held: NumberedLine | LineFault | None = None
    for row in read_lines(path):
        if held is not None:
            yield held, False
        held = row
    if held is not None:
        yield held, not _ends_with_newline(path)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _logged(row: NumberedLine) -> LogRow | LineFault:
    logged = decoded(row, _DECODER)
    if isinstance(logged, LineFault):
        return logged
    reason = "; ".join(_field_faults(logged))
    return LineFault(row.line, reason) if reason else logged


def _field_faults(row: LogRow) -> Iterator[str]:
    """Faults that types cannot express: blanks, control characters, a missing output."""
    required = (("$.task.description", row.task.description), ("$.agent.role", row.agent.role))
    for name, text in required:
        if not text.strip():
            yield f"`{name}` is blank"
    if row.execution.output is UNSET and row.execution.status is None:
        yield "object missing required field `output` - at `$.execution`"
    sent = row.execution.input_messages or ()
    texts = [
        *required,
        ("$.execution.output", row.execution.output or ""),
        *(
            (f"$.execution.input_messages[{i}].content", turn.content or "")
            for i, turn in enumerate(sent)
        ),
    ]
    yield from _tool_faults(row)
    for name, text in texts:
        found = control_in(text)
        if found:
            yield f"`{name}` contains the control character `{found}`"


def _tool_faults(row: LogRow) -> Iterator[str]:
    """Calls and tools without a name, and turns without text or a tool call."""
    fault = fault_of_calls(row.execution.tool_calls)
    if fault:
        yield f"{fault} - at `$.execution.tool_calls`"
    fault = fault_of_tools(row.execution.tools)
    if fault:
        yield f"{fault} - at `$.execution.tools`"
    for place, turn in enumerate(row.execution.input_messages or ()):
        where = f"$.execution.input_messages[{place}]"
        fault = fault_of_calls(turn.tool_calls)
        if fault:
            yield f"{fault} - at `{where}.tool_calls`"
        if turn.content is None and not turn.tool_calls:
            yield f"expected `str`, got `null` - at `{where}.content`"
