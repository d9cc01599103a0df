"""A turn as a log may write it, and the Message that it stands for.

Besides this project's own shape, tool calls may stand as OpenAI's chat interface gives them
(`{"id": ..., "type": "function", "function": {...}}`), with nulls for what is not there.
"""

import msgspec
from msgspec import Struct

from journeyman.records import Message, Role, ToolCall

Arguments = str | dict[str, object]


class Function(Struct, frozen=True, omit_defaults=True):
    """The function of a call. `arguments` is JSON text; some servers log the object itself."""

    name: str
    arguments: Arguments = "{}"


class LoggedCall(Struct, frozen=True, omit_defaults=True):
    """One tool call, flat or with its `function` inside."""

    id: str | None = None
    name: str | None = None
    arguments: Arguments | None = None
    function: Function | None = None


class LoggedTurn(Struct, frozen=True, omit_defaults=True):
    """One turn. `content` may be null where an assistant only asks for tools."""

    role: Role
    content: str | None
    tool_calls: tuple[LoggedCall, ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None


def to_message(turn: LoggedTurn) -> Message:
    """The record of a turn."""
    return Message(
        turn.role,
        turn.content or "",
        tool_calls=to_calls(turn.tool_calls),
        tool_call_id=turn.tool_call_id,
        name=turn.name,
    )


def to_turn(message: Message) -> LoggedTurn:
    """The turn that `to_message` reads back as the same record."""
    return LoggedTurn(
        message.role,
        message.content,
        tool_calls=to_logged_calls(message.tool_calls),
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def to_calls(calls: tuple[LoggedCall, ...] | None) -> tuple[ToolCall, ...]:
    """The records of some calls; one without a name (a fault of its own) is passed over."""
    found = ((call.id, _function(call)) for call in calls or ())
    return tuple(
        ToolCall(call_id or "", function.name, _text(function.arguments))
        for call_id, function in found
        if function is not None
    )


def to_logged_calls(calls: tuple[ToolCall, ...]) -> tuple[LoggedCall, ...] | None:
    """The calls that `to_calls` reads back as the same records."""
    logged = (LoggedCall(call.id, call.name, call.arguments) for call in calls)
    return tuple(logged) or None


def fault_of_calls(calls: tuple[LoggedCall, ...] | None) -> str | None:
    """What is wrong with some calls, or None."""
    nameless = any(_function(call) is None for call in calls or ())
    return "a tool call has no name" if nameless else None


def _function(call: LoggedCall) -> Function | None:
    if call.function is not None or call.name is None:
        return call.function
    return Function(call.name, "{}" if call.arguments is None else call.arguments)


def _text(arguments: Arguments) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
