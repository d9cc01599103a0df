"""Alpaca rows: `instruction`, `input`, `output`, with `system` and `history` where given.

The user's turn is the instruction, and the input after an empty line where there is one.
"""

from collections.abc import Iterator

from msgspec import Struct

from journeyman.collect.reading.calls import ModelCall, interaction
from journeyman.collect.reading.format import Format, Item, JsonObject, by_row, by_type
from journeyman.records import Message

NAME = "alpaca"


class AlpacaRow(Struct, frozen=True):
    """One task and its answer. `history` holds earlier pairs of instruction and answer."""

    instruction: str
    output: str
    input: str | None = None
    system: str | None = None
    history: tuple[tuple[str, str], ...] | None = None


def _items(row: AlpacaRow, line: int, agent: str) -> Iterator[Item]:
    first = (Message("system", row.system),) if row.system else ()
    earlier = tuple(
        message
        for asked, answered in row.history or ()
        for message in (Message("user", asked), Message("assistant", answered))
    )
    asked = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    yield interaction(
        ModelCall(
            line=line,
            format=NAME,
            agent=agent,
            sent=(*first, *earlier, Message("user", asked)),
            answer=Message("assistant", row.output),
        )
    )


def _against(row: JsonObject) -> str:
    missing = [name for name in ("instruction", "output") if name not in row]
    return f"no `{missing[0]}`" if missing else ""


FORMAT = Format(
    name=NAME,
    what="Alpaca rows (instruction, input, output)",
    misfit=by_row(_against),
    read=by_type(AlpacaRow, _items),
)
