"""Turns of OpenAI's chat API, and the Messages that they become.

Covered: text (also in parts), old and new tool calls, `developer` and `function` roles.
Not covered: pictures, sound and files.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from journeyman.collect.reading.row_result import BrokenRow, UnusableRow
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
    """One part of the content of a turn."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(LoggedCall, frozen=True):
    """One tool call. Only calls of type `function` are read."""

    type: str = "function"


class OpenAITurn(Struct, frozen=True):
    """One turn. `weight` 0 marks an answer that must not be trained on."""

    role: str
    content: str | tuple[ContentPart, ...] | None = None
    tool_calls: tuple[FunctionCall, ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    function_call: Function | None = None
    refusal: str | None = None
    weight: Literal[0, 1] | None = None


def messages_of(turns: Sequence[OpenAITurn], where: str) -> tuple[Message, ...]:
    """The Messages of some turns. `where` is their JSON path, for error messages."""
    return tuple(message_of(turn, f"{where}[{place}]") for place, turn in enumerate(turns))


def message_of(turn: OpenAITurn, where: str) -> Message:
    """The Message of one turn."""
    role = _ROLES.get(turn.role)
    if role is None:
        raise BrokenRow(f"unknown role `{turn.role}` - at `{where}.role`")
    calls = _tool_calls(turn, where)
    if calls and role != "assistant":
        raise BrokenRow(f"a `{turn.role}` turn calls tools - at `{where}`")
    if turn.content is None and not calls and turn.refusal is None and role != "assistant":
        raise BrokenRow(f"object missing required field `content` - at `{where}`")
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
    return "\n".join(_part_text(part, where) for part in turn.content)


def _part_text(part: ContentPart, where: str) -> str:
    text = part.text if part.text is not None else part.refusal
    if part.type not in ("text", "input_text", "output_text", "refusal"):
        raise UnusableRow(f"content of type `{part.type}` is not text")
    if text is None:
        raise BrokenRow(f"a part of type `{part.type}` has no text - at `{where}.content`")
    return text


def _tool_calls(turn: OpenAITurn, where: str) -> tuple[ToolCall, ...]:
    other = next((call.type for call in turn.tool_calls or () if call.type != "function"), None)
    if other is not None:
        raise UnusableRow(f"a tool call of type `{other}` is not a function")
    old_style = (LoggedCall(function=turn.function_call),) if turn.function_call else ()
    calls = (*(turn.tool_calls or ()), *old_style)
    fault = fault_of_calls(calls)
    if fault:
        raise BrokenRow(f"{fault} - at `{where}.tool_calls`")
    return to_calls(calls)
