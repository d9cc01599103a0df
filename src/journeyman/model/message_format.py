"""Messages as chat templates expect them, tool calls in the form that Hugging Face templates read.

Not covered: tokens of a tool's format that a tokenizer does not count as special (`<tool_call>` of
Qwen2.5); they are the same in a template and in a content, as on every server.
"""

import json
from collections.abc import Callable, Sequence
from typing import NoReturn

from journeyman.errors import DataRefused
from journeyman.records import Message, Tool, ToolCall


def as_turn(message: Message) -> dict[str, object]:
    """One message as a template reads it. Raises DataRefused for arguments that are no object."""
    return _turn(message, arguments_of)


def as_openai(message: Message) -> dict[str, object]:
    """One message as OpenAI's chat interface has it: arguments stay the JSON text that they are."""
    return _turn(message, lambda call: call.arguments or "{}")


def _turn(message: Message, arguments: Callable[[ToolCall], object]) -> dict[str, object]:
    turn: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [_called(call, arguments(call)) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _called(call: ToolCall, arguments: object) -> dict[str, object]:
    named = {"id": call.id} if call.id else {}
    function = {"name": call.name, "arguments": arguments}
    return {"type": "function", **named, "function": function}


def arguments_of(call: ToolCall) -> dict[str, object]:
    """The arguments as the object that their JSON text tells; no text at all is an empty one."""
    return _object(call.arguments, f"the arguments of the call of `{call.name}`", "tool_calls")


def as_tool(tool: Tool) -> dict[str, object]:
    """A tool as templates read it: OpenAI's form, with the three fields that llama.cpp passes on.

    Raises DataRefused for parameters that are no JSON object.
    """
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters_of(tool),
    }
    return {"type": "function", "function": function}


def parameters_of(tool: Tool) -> dict[str, object]:
    """The schema of a tool's arguments as the object that its JSON text tells."""
    return _object(tool.parameters, f"the parameters of the tool `{tool.name}`", "tools")


def _object(text: str, whose: str, key: str) -> dict[str, object]:
    def refuse(what: str) -> NoReturn:
        raise DataRefused(
            f"{whose} are {what}: `{text[:80]}`",
            hint=f"take that row out, or correct its `{key}`",
        )

    def refuse_constant(name: str) -> NoReturn:
        refuse(f"no JSON, which has no `{name}`")

    try:
        found = json.loads(text.strip() or "{}", parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        refuse(f"no JSON ({type(error).__name__})")
    if not isinstance(found, dict):
        refuse("no JSON object")
    return found


def speaks_of_tools(messages: Sequence[Message]) -> bool:
    """Whether a tool is called or answers anywhere."""
    return any(message.role == "tool" or message.tool_calls for message in messages)
