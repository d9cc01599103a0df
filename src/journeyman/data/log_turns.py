"""Turns, tool calls and tools as a log may write them, and their conversion to and from records.

Tool calls: this project's form, or that of OpenAI's chat interface
(`{"id": ..., "type": "function", "function": {...}}`) with null for missing values.
Tools on offer: OpenAI's form (`{"type": "function", "function": {"name": ..., "parameters":
{...}}}`), the flat form of its older `functions` and of OpenTelemetry, and Anthropic's with
`input_schema`. Not covered: tools that run on the server (`web_search_20250305`), since another
model cannot be offered them, and `strict`, which templates do not read; both are ignored.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from journeyman.records import Message, Role, Tool, ToolCall

Arguments = str | dict[str, object]


class Function(Struct, frozen=True, omit_defaults=True):
    """The function of a call. `arguments` is JSON text, or the object itself from some servers."""

    name: str
    arguments: Arguments = "{}"


class LoggedCall(Struct, frozen=True, omit_defaults=True):
    """One tool call, flat or with its `function` inside."""

    id: str | None = None
    name: str | None = None
    arguments: Arguments | None = None
    function: Function | None = None


class LoggedTurn(Struct, frozen=True, omit_defaults=True):
    """One turn. `content` may be null if an assistant only calls tools."""

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
    """The records of calls; one without a name is skipped (see `fault_of_calls`)."""
    functions = ((call.id, _function(call)) for call in calls or ())
    return tuple(
        ToolCall(call_id or "", function.name, _text(function.arguments))
        for call_id, function in functions
        if function is not None
    )


def to_logged_calls(calls: tuple[ToolCall, ...]) -> tuple[LoggedCall, ...] | None:
    """The calls that `to_calls` reads back as the same records."""
    logged = (LoggedCall(call.id, call.name, call.arguments) for call in calls)
    return tuple(logged) or None


def fault_of_calls(calls: tuple[LoggedCall, ...] | None) -> str | None:
    """The first fault in calls, or None."""
    nameless = any(_function(call) is None for call in calls or ())
    return "a tool call has no name" if nameless else None


def _function(call: LoggedCall) -> Function | None:
    if call.function is not None or call.name is None:
        return call.function
    return Function(call.name, "{}" if call.arguments is None else call.arguments)


def _text(arguments: Arguments) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


Schema = str | dict[str, object]

_FUNCTIONS = frozenset({None, "function", "custom"})


class Definition(Struct, frozen=True, omit_defaults=True):
    """A function. `parameters` is its schema or that as JSON text; without it: no arguments."""

    name: str | None = None
    description: str | None = None
    parameters: Schema | None = None
    input_schema: Schema | None = None


class LoggedTool(Definition, frozen=True, omit_defaults=True):
    """One tool, flat or with its `function` inside."""

    type: str | None = None
    function: Definition | None = None


def to_tools(logged: Sequence[LoggedTool] | None) -> tuple[Tool, ...] | UnsetType:
    """The records of tools, or UNSET if there are none; see `fault_of_tools`."""
    tools = tuple(
        Tool(one.name, one.description or "", _schema_text(_schema(one)))
        for one in _functions(logged)
        if one.name
    )
    return tools or UNSET


def to_logged_tools(tools: Sequence[Tool]) -> tuple[LoggedTool, ...] | None:
    """The tools that `to_tools` reads back as the same records."""
    logged = (LoggedTool(one.name, one.description or None, one.parameters) for one in tools)
    return tuple(logged) or None


def fault_of_tools(logged: Sequence[LoggedTool] | None) -> str | None:
    """The first fault in tools, or None."""
    for one in _functions(logged):
        if not one.name:
            return "a tool has no name"
        schema = _schema(one)
        if isinstance(schema, str) and not _is_object(schema):
            return f"the parameters of the tool `{one.name[:80]}` are not a JSON object"
    return None


def _functions(logged: Sequence[LoggedTool] | None) -> Iterator[Definition]:
    for one in logged or ():
        # OpenAI's `custom` tools have no schema: their argument is free text.
        is_other = one.type == "custom" and one.input_schema is None
        if one.type in _FUNCTIONS and not is_other:
            yield one.function or one


def _schema(one: Definition) -> Schema:
    schema = one.parameters if one.parameters is not None else one.input_schema
    return {} if schema is None else schema


def _schema_text(schema: Schema) -> str:
    return schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError):
        return False
