"""A tool on offer as a log may write it, and the Tool that it stands for.

Covered: OpenAI's form (`{"type": "function", "function": {"name": ..., "parameters": {...}}}`), the
flat one of its older `functions` and of OpenTelemetry, and Anthropic's with `input_schema`.
Not covered: tools that the server itself runs (`web_search_20250305`); they are no functions that
another model could be offered, and are passed over, as is `strict`, which no template reads.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from journeyman.records import Tool

Schema = str | dict[str, object]
_FUNCTIONS = frozenset({None, "function", "custom"})


class Definition(Struct, frozen=True, omit_defaults=True):
    """A function. `parameters` is its schema, or the JSON text of it; none takes no arguments."""

    name: str | None = None
    description: str | None = None
    parameters: Schema | None = None
    input_schema: Schema | None = None


class LoggedTool(Definition, frozen=True, omit_defaults=True):
    """One tool, flat or with its `function` inside."""

    type: str | None = None
    function: Definition | None = None


def to_tools(logged: Sequence[LoggedTool] | None) -> tuple[Tool, ...] | UnsetType:
    """The records of some tools, or UNSET where there are none; see `fault_of_tools`."""
    found = tuple(
        Tool(one.name, one.description or "", _text(_schema(one)))
        for one in _functions(logged)
        if one.name
    )
    return found or UNSET


def to_logged_tools(tools: Sequence[Tool]) -> tuple[LoggedTool, ...] | None:
    """The tools that `to_tools` reads back as the same records."""
    logged = (LoggedTool(one.name, one.description or None, one.parameters) for one in tools)
    return tuple(logged) or None


def fault_of_tools(logged: Sequence[LoggedTool] | None) -> str | None:
    """What is wrong with some tools, or None."""
    for one in _functions(logged):
        if not one.name:
            return "a tool has no name"
        schema = _schema(one)
        if isinstance(schema, str) and not _is_object(schema):
            return f"the parameters of the tool `{one.name[:80]}` are no JSON object"
    return None


def _functions(logged: Sequence[LoggedTool] | None) -> Iterator[Definition]:
    for one in logged or ():
        # OpenAI's `custom` tools have no schema: their argument is any text.
        is_other = one.type == "custom" and one.input_schema is None
        if one.type in _FUNCTIONS and not is_other:
            yield one.function or one


def _schema(one: Definition) -> Schema:
    found = one.parameters if one.parameters is not None else one.input_schema
    return {} if found is None else found


def _text(schema: Schema) -> str:
    return schema if isinstance(schema, str) else msgspec.json.encode(schema).decode()


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError):
        return False
