"""Turns made of parts, as the GenAI conventions write them today, and the Messages they become."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct

from journeyman.collect.reading.row_result import BrokenRow, UnusableRow
from journeyman.data.strict_json import words
from journeyman.records import Message, Role, ToolCall

T = TypeVar("T")

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


class OtelPart(Struct, frozen=True):
    """One part of a turn. Its type decides which fields it has."""

    type: str
    content: object = None
    id: str | None = None
    name: str | None = None
    arguments: object = None
    response: object = UNSET
    result: object = UNSET


class OtelMessage(Struct, frozen=True):
    """One turn."""

    role: str
    parts: tuple[OtelPart, ...]
    finish_reason: str | None = None


def read_value(value: object, kind: type[T], where: str) -> T:
    """A value, or JSON text of one, checked against its type. Raises BrokenRow."""
    try:
        if isinstance(value, str):
            return msgspec.json.decode(value, type=kind)
        return msgspec.convert(value, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BrokenRow(f"{words(error)} - in `gen_ai.{where}`") from error


def messages_from_parts(instructions: object, turns: Sequence[OtelMessage]) -> tuple[Message, ...]:
    """The sent Messages: the system instructions, then the turns."""
    return (*_system(instructions), *(message for turn in turns for message in _messages(turn)))


def message_from_parts(turn: OtelMessage, where: str) -> Message:
    """The Message of one answer."""
    if _ROLES.get(turn.role) != "assistant":
        raise BrokenRow(f"the answer's role is `{turn.role}` - at `{where}`")
    calls = tuple(_tool_call(part) for part in turn.parts if part.type == "tool_call")
    return Message("assistant", _joined(turn.parts, ""), tool_calls=calls)


def _system(instructions: object) -> Iterator[Message]:
    if instructions is None:
        return
    text = instructions if isinstance(instructions, str) else None
    if text is None or text.lstrip().startswith("["):
        text = _joined(read_value(instructions, tuple[OtelPart, ...], "system_instructions"), "\n")
    if text:
        yield Message("system", text)


def _messages(turn: OtelMessage) -> Iterator[Message]:
    role = _ROLES.get(turn.role)
    if role is None:
        raise BrokenRow(f"unknown role `{turn.role}` - at `gen_ai.input.messages`")
    if role == "assistant":
        yield message_from_parts(turn, "gen_ai.input.messages")
        return
    results = [part for part in turn.parts if part.type == "tool_call_response"]
    for part in results:
        yield Message("tool", _tool_result(part), tool_call_id=part.id)
    text = _joined(turn.parts, "\n")
    if text or not results:
        yield Message(role, text)


def _joined(parts: Sequence[OtelPart], joint: str) -> str:
    ignored = ("tool_call", "tool_call_response", "reasoning")
    return joint.join(_text(part) for part in parts if part.type not in ignored)


def _text(part: OtelPart) -> str:
    if part.type != "text":
        raise UnusableRow(f"content of type `{part.type}` is not text")
    if not isinstance(part.content, str):
        raise BrokenRow("a part of type `text` has no text in `content`")
    return part.content


def _tool_call(part: OtelPart) -> ToolCall:
    if not part.name:
        raise BrokenRow("a part of type `tool_call` has no `name`")
    arguments = part.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments if arguments is not None else {}).decode()
    return ToolCall(part.id or "", part.name, arguments)


def _tool_result(part: OtelPart) -> str:
    value = part.result if part.response is UNSET else part.response
    if value is UNSET:
        raise BrokenRow("a part of type `tool_call_response` has no `response`")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
