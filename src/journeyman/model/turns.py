"""Messages as chat templates expect them, tool calls in the form that Hugging Face templates read.

Not covered: the schemas of the tools that were on offer. Logs of answers seldom hold them, so a
template renders none, and tokens of a tool's format that a tokenizer does not count as special
(`<tool_call>` of Qwen2.5) are the same in a template and in a content, as on every server.
"""

import json
from collections.abc import Callable, Sequence
from typing import NoReturn

from journeyman.errors import DataRefused
from journeyman.records import Message, ToolCall


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

    def refuse(what: str) -> NoReturn:
        raise DataRefused(
            f"the arguments of the call of `{call.name}` are {what}: `{call.arguments[:80]}`",
            hint="take that row out, or correct its `tool_calls`",
        )

    def refuse_constant(name: str) -> NoReturn:
        refuse(f"no JSON, which has no `{name}`")

    try:
        found = json.loads(call.arguments.strip() or "{}", parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        refuse(f"no JSON ({type(error).__name__})")
    if not isinstance(found, dict):
        refuse("no JSON object")
    return found


def speaks_of_tools(messages: Sequence[Message]) -> bool:
    """Whether a tool is called or answers anywhere."""
    return any(message.role == "tool" or message.tool_calls for message in messages)
