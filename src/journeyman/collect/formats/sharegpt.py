"""ShareGPT rows: `{"conversations": [{"from": "human", "value": ...}, ...]}`, lines or one list.

`function_call` turns hold `{"name": ..., "arguments": ...}` as JSON text, `observation` turns hold
tool results. Definitions in `tools` are not kept.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from journeyman.collect.reading.json_rows import JsonObject
from journeyman.collect.reading.log_format import Format, match_rows, read_rows
from journeyman.collect.reading.model_call import ModelCall, final_answers, row_id
from journeyman.collect.reading.row_result import BrokenRow, UnusableRow
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


def _calls(row: ShareGptRow) -> Iterator[ModelCall]:
    system = (Message("system", row.system),) if row.system else ()
    turns = (*system, *_turns(row.conversations))
    answers = list(final_answers(turns))
    if not answers:
        raise UnusableRow("no assistant turn follows a user turn")
    conversation = row_id(turns) if row.id is None else f"row-{row.id}"
    for place in answers:
        yield ModelCall(
            sent=_without_greeting(turns[:place]),
            answer=turns[place],
            model=row.model,
            conversation=conversation,
        )


def _without_greeting(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The turns without the assistant's before the first user turn: no API accepts those."""
    first = next(place for place, turn in enumerate(turns) if turn.role == "user")
    return (*(turn for turn in turns[:first] if turn.role == "system"), *turns[first:])


def _turns(turns: Sequence[ShareGptTurn]) -> Iterator[Message]:
    for place, turn in enumerate(turns):
        where = f"$.conversations[{place}]"
        if turn.speaker == "function_call":
            yield Message("assistant", "", tool_calls=(_tool_call(turn.value, where),))
        elif turn.speaker in _ROLES:
            yield Message(_ROLES[turn.speaker], turn.value)
        else:
            raise BrokenRow(f"unknown speaker `{turn.speaker}` - at `{where}.from`")


def _tool_call(text: str, where: str) -> ToolCall:
    try:
        function = msgspec.json.decode(text, type=_Function)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BrokenRow(f"not a function call: {words(error)} - at `{where}.value`") from error
    arguments = function.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall("", function.name, arguments)


def _mismatch(row: JsonObject) -> str:
    turns = row.get("conversations")
    if not isinstance(turns, list):
        return "no list `conversations`"
    has_speakers = all(isinstance(turn, dict) and "from" in turn for turn in turns)
    return "" if has_speakers else "a turn in `conversations` has no `from`"


FORMAT = Format(
    name=NAME,
    description="ShareGPT rows (conversations with from and value)",
    match=match_rows(_mismatch),
    read=read_rows(NAME, ShareGptRow, _calls),
)
