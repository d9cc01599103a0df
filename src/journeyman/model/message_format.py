"""Messages, tool calls and tools in the form of Hugging Face's chat templates and OpenAI's API.

Not covered: tokens of a tool format that are not special for the tokenizer (`<tool_call>` of
Qwen2.5). They mean the same in a template and in a message, as on every server.
"""

import json
from collections.abc import Callable, Sequence
from typing import NoReturn

from journeyman.errors import DataRefused
from journeyman.records import Message, Tool, ToolCall


def as_turn(message: Message) -> dict[str, object]:
    """A message for a template. Raises DataRefused if arguments are not a JSON object."""
    return _turn(message, arguments_of)


def as_openai(message: Message) -> dict[str, object]:
    """A message for OpenAI's chat API, where arguments are JSON text."""
    return _turn(message, lambda call: call.arguments or "{}")


def _turn(message: Message, arguments: Callable[[ToolCall], object]) -> dict[str, object]:
    turn: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [_tool_call(call, arguments(call)) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _tool_call(call: ToolCall, arguments: object) -> dict[str, object]:
    named = {"id": call.id} if call.id else {}
    function = {"name": call.name, "arguments": arguments}
    return {"type": "function", **named, "function": function}


def arguments_of(call: ToolCall) -> dict[str, object]:
    """The arguments of a call, parsed; an empty text is an empty object."""
    return _object(call.arguments, f"the arguments of the call of `{call.name}`", "tool_calls")


def as_tool(tool: Tool) -> dict[str, object]:
    """A tool for a template: OpenAI's form, with the three fields that llama.cpp passes on.

    Raises DataRefused if the parameters are not a JSON object.
    """
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters_of(tool),
    }
    return {"type": "function", "function": function}


def parameters_of(tool: Tool) -> dict[str, object]:
    """The schema of a tool's arguments, parsed."""
    return _object(tool.parameters, f"the parameters of the tool `{tool.name}`", "tools")


def _object(text: str, whose: str, key: str) -> dict[str, object]:
    def refuse(what: str) -> NoReturn:
        raise DataRefused(
            f"{whose} are {what}: `{text[:80]}`",
            hint=f"remove that row, or correct its `{key}`",
        )

    def refuse_constant(name: str) -> NoReturn:
        refuse(f"not JSON, which has no `{name}`")

    try:
        value = json.loads(text.strip() or "{}", parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        refuse(f"not JSON ({type(error).__name__})")
    if not isinstance(value, dict):
        refuse("not a JSON object")
    return value


def uses_tools(messages: Sequence[Message]) -> bool:
    """Whether any message calls a tool or holds the result of a call."""
    return any(message.role == "tool" or message.tool_calls for message in messages)
