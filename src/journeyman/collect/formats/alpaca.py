"""Alpaca rows: `instruction`, `input`, `output`, optionally with `system` and `history`.

The user turn is the instruction, followed by a blank line and the input if there is one.
"""

from collections.abc import Iterator

from msgspec import Struct

from journeyman.collect.reading.json_rows import JsonObject
from journeyman.collect.reading.log_format import Format, match_rows, read_rows
from journeyman.collect.reading.model_call import ModelCall
from journeyman.records import Message

NAME = "alpaca"


class AlpacaRow(Struct, frozen=True):
    """One task and its answer. `history` holds earlier pairs of instruction and answer."""

    instruction: str
    output: str
    input: str | None = None
    system: str | None = None
    history: tuple[tuple[str, str], ...] | None = None


def _calls(row: AlpacaRow) -> Iterator[ModelCall]:
    system = (Message("system", row.system),) if row.system else ()
    history = tuple(
        message
        for instruction, output in row.history or ()
        for message in (Message("user", instruction), Message("assistant", output))
    )
    task = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    yield ModelCall(
        sent=(*system, *history, Message("user", task)), answer=Message("assistant", row.output)
    )


def _mismatch(row: JsonObject) -> str:
    missing = [name for name in ("instruction", "output") if name not in row]
    return f"no `{missing[0]}`" if missing else ""


FORMAT = Format(
    name=NAME,
    description="Alpaca rows (instruction, input, output)",
    match=match_rows(_mismatch),
    read=read_rows(NAME, AlpacaRow, _calls),
)
