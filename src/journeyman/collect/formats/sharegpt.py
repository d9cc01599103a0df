"""ShareGPT rows: `{"conversations": [{"from": "human", "value": ...}, ...]}`, lines or one list.

`function_call` turns hold `{"name": ..., "arguments": ...}` as JSON text, `observation` turns what
came back. Definitions in `tools` are not kept.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from journeyman.collect.reading.calls import ModelCall, final_answers, interaction, row_name
from journeyman.collect.reading.format import (
    Faulty,
    Format,
    Item,
    JsonObject,
    Unusable,
    by_row,
    by_type,
)
from journeyman.data.strict_json import words
from journeyman.records import Message, Role, ToolCall

NAME = "sharegpt"
_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "observation": "tool",
    "tool": "tool",
}


class ShareGptTurn(Struct, frozen=True, rename={"speaker": "from"}):
    """One turn."""

    speaker: str
    value: str


class ShareGptRow(Struct, frozen=True):
    """One conversation."""

    conversations: tuple[ShareGptTurn, ...]
    id: str | int | None = None
    system: str | None = None
    model: str | None = None


class _Function(Struct, frozen=True):
    name: str
    arguments: dict[str, object] | str = "{}"


def _items(row: ShareGptRow, line: int, agent: str) -> Iterator[Item]:
    first = (Message("system", row.system),) if row.system else ()
    turns = (*first, *_turns(row.conversations))
    ends = list(final_answers(turns))
    if not ends:
        raise Unusable("no assistant's turn follows a user's turn")
    name = row_name(turns) if row.id is None else f"row-{row.id}"
    for place in ends:
        yield interaction(
            ModelCall(
                line=line,
                format=NAME,
                agent=agent,
                sent=_from_user(turns[:place]),
                answer=turns[place],
                model=row.model,
                conversation=name,
            )
        )


def _from_user(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The turns without greetings of the assistant's before anybody asked: none is ever sent so."""
    first = next(place for place, turn in enumerate(turns) if turn.role == "user")
    return (*(turn for turn in turns[:first] if turn.role == "system"), *turns[first:])


def _turns(turns: Sequence[ShareGptTurn]) -> Iterator[Message]:
    for place, turn in enumerate(turns):
        where = f"$.conversations[{place}]"
        if turn.speaker == "function_call":
            yield Message("assistant", "", tool_calls=(_call(turn.value, where),))
        elif turn.speaker in _ROLES:
            yield Message(_ROLES[turn.speaker], turn.value)
        else:
            raise Faulty(f"unknown speaker `{turn.speaker}` - at `{where}.from`")


def _call(text: str, where: str) -> ToolCall:
    try:
        found = msgspec.json.decode(text, type=_Function)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Faulty(f"no function call: {words(error)} - at `{where}.value`") from error
    arguments = found.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall("", found.name, arguments)


def _against(row: JsonObject) -> str:
    turns = row.get("conversations")
    if not isinstance(turns, list):
        return "no list `conversations`"
    fits = all(isinstance(turn, dict) and "from" in turn for turn in turns)
    return "" if fits else "a turn in `conversations` has no `from`"


FORMAT = Format(
    name=NAME,
    what="ShareGPT rows (conversations with from and value)",
    misfit=by_row(_against),
    read=by_type(ShareGptRow, _items),
)
