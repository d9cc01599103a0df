"""Turns made of parts, as the GenAI conventions write them today, and their records."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct

from journeyman.collect.reading.format import Faulty, Unusable
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
    """One part of a turn; which fields it has depends on its type."""

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
    """A value, or JSON text of one, checked against its type."""
    try:
        if isinstance(value, str):
            return msgspec.json.decode(value, type=kind)
        return msgspec.convert(value, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Faulty(f"{words(error)} - in `gen_ai.{where}`") from error


def messages_from_parts(instructions: object, turns: Sequence[OtelMessage]) -> tuple[Message, ...]:
    """What was sent: the instructions, then the turns."""
    return (*_system(instructions), *(message for said in turns for message in _messages(said)))


def message_from_parts(said: OtelMessage, where: str) -> Message:
    """One answer."""
    if _ROLES.get(said.role) != "assistant":
        raise Faulty(f"the answer's role is `{said.role}` - at `{where}`")
    calls = tuple(_call(part) for part in said.parts if part.type == "tool_call")
    return Message("assistant", _joined(said.parts, ""), tool_calls=calls)


def _system(instructions: object) -> Iterator[Message]:
    if instructions is None:
        return
    text = instructions if isinstance(instructions, str) else None
    if text is None or text.lstrip().startswith("["):
        text = _joined(read_value(instructions, tuple[OtelPart, ...], "system_instructions"), "\n")
    if text:
        yield Message("system", text)


def _messages(said: OtelMessage) -> Iterator[Message]:
    role = _ROLES.get(said.role)
    if role is None:
        raise Faulty(f"unknown role `{said.role}` - at `gen_ai.input.messages`")
    if role == "assistant":
        yield message_from_parts(said, "gen_ai.input.messages")
        return
    results = [part for part in said.parts if part.type == "tool_call_response"]
    for part in results:
        yield Message("tool", _result(part), tool_call_id=part.id)
    text = _joined(said.parts, "\n")
    if text or not results:
        yield Message(role, text)


def _joined(parts: Sequence[OtelPart], joint: str) -> str:
    passed = ("tool_call", "tool_call_response", "reasoning")
    return joint.join(_text(part) for part in parts if part.type not in passed)


def _text(part: OtelPart) -> str:
    if part.type != "text":
        raise Unusable(f"content of type `{part.type}` is no text")
    if not isinstance(part.content, str):
        raise Faulty("a part of type `text` has no text in `content`")
    return part.content


def _call(part: OtelPart) -> ToolCall:
    if not part.name:
        raise Faulty("a part of type `tool_call` has no `name`")
    arguments = part.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments if arguments is not None else {}).decode()
    return ToolCall(part.id or "", part.name, arguments)


def _result(part: OtelPart) -> str:
    value = part.result if part.response is UNSET else part.response
    if value is UNSET:
        raise Faulty("a part of type `tool_call_response` has no `response`")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
