"""Turns as OpenAI's chat interface writes them, and the records they stand for.

Covered: text (also in parts), tool calls old and new, `developer` and `function` roles.
Not covered: pictures, sound and files.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from journeyman.collect.reading.format import Faulty, Unusable
from journeyman.data.log_turns import Function, LoggedCall, fault_of_calls, to_calls
from journeyman.records import Message, Role, ToolCall

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class ContentPart(Struct, frozen=True):
    """One part of a turn's content."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(LoggedCall, frozen=True):
    """One tool call; other types than `function` have none."""

    type: str = "function"


class OpenAITurn(Struct, frozen=True):
    """One turn. `weight` 0 marks an answer that must not be learned."""

    role: str
    content: str | tuple[ContentPart, ...] | None = None
    tool_calls: tuple[FunctionCall, ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    function_call: Function | None = None
    refusal: str | None = None
    weight: Literal[0, 1] | None = None


def messages_of(turns: Sequence[OpenAITurn], where: str) -> tuple[Message, ...]:
    """The records of some turns. `where` is their JSON path, for the words of a fault."""
    return tuple(message_of(turn, f"{where}[{place}]") for place, turn in enumerate(turns))


def message_of(turn: OpenAITurn, where: str) -> Message:
    """The record of one turn."""
    role = _ROLES.get(turn.role)
    if role is None:
        raise Faulty(f"unknown role `{turn.role}` - at `{where}.role`")
    calls = _calls(turn, where)
    if calls and role != "assistant":
        raise Faulty(f"a `{turn.role}` turn asks for tools - at `{where}`")
    if turn.content is None and not calls and turn.refusal is None and role != "assistant":
        raise Faulty(f"object missing required field `content` - at `{where}`")
    return Message(
        role,
        _text(turn, where),
        tool_calls=calls,
        tool_call_id=turn.tool_call_id if role == "tool" else None,
        name=turn.name if role == "tool" else None,
    )


def _text(turn: OpenAITurn, where: str) -> str:
    if turn.content is None:
        return turn.refusal or ""
    if isinstance(turn.content, str):
        return turn.content
    return "\n".join(_part(part, where) for part in turn.content)


def _part(part: ContentPart, where: str) -> str:
    text = part.text if part.text is not None else part.refusal
    if part.type not in ("text", "input_text", "output_text", "refusal"):
        raise Unusable(f"content of type `{part.type}` is no text")
    if text is None:
        raise Faulty(f"a part of type `{part.type}` has no text - at `{where}.content`")
    return text


def _calls(turn: OpenAITurn, where: str) -> tuple[ToolCall, ...]:
    other = next((call.type for call in turn.tool_calls or () if call.type != "function"), None)
    if other is not None:
        raise Unusable(f"a tool call of type `{other}` is no function")
    old = (LoggedCall(function=turn.function_call),) if turn.function_call else ()
    calls = (*(turn.tool_calls or ()), *old)
    fault = fault_of_calls(calls)
    if fault:
        raise Faulty(f"{fault} - at `{where}.tool_calls`")
    return to_calls(calls)
