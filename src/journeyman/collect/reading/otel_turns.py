"""The turns and the tools of a GenAI span, in every notation that the conventions have had.

Turns today: `gen_ai.input.messages` and `gen_ai.output.messages` with parts, in the span or in its
event. Before: one event per turn (`gen_ai.user.message`, `gen_ai.choice`), or two events with JSON
(`gen_ai.content.prompt`). OpenLLMetry: numbered attributes, `gen_ai.prompt.0.content`.
Tools: `gen_ai.tool.definitions`, in the span or in its event, or `llm.request.functions.0.name`.
Reasoning is not kept. Instrumentations record content only if they are configured to.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct, UnsetType

from journeyman.collect.reading.model_call import tools_from
from journeyman.collect.reading.openai_turns import OpenAITurn, message_of
from journeyman.collect.reading.otel_parts import (
    OtelMessage,
    message_from_parts,
    messages_from_parts,
    read_value,
)
from journeyman.collect.reading.otel_spans import Attributes, OtelSpan
from journeyman.collect.reading.row_result import BrokenRow
from journeyman.data.log_turns import LoggedTool
from journeyman.records import Message, Tool

_PROMPT = re.compile(r"gen_ai\.prompt\.(\d{1,5})\.(.+)")
_COMPLETION = re.compile(r"gen_ai\.completion\.(\d{1,5})\.(.+)")
_TOOL_CALL = re.compile(r"tool_calls\.(\d{1,5})\.(id|name|arguments)")
_TOOL = re.compile(r"llm\.request\.functions\.(\d{1,5})\.(name|description|parameters)")
_TURN_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
DETAILS = "gen_ai.client.inference.operation.details"
DEFINITIONS = "gen_ai.tool.definitions"


class OtelAnswer(Struct, frozen=True):
    """One answer and why it ended."""

    message: Message
    finish_reason: str | None = None


class OtelExchange(Struct, frozen=True):
    """The messages that were sent in a span, and the answers."""

    sent: tuple[Message, ...] = ()
    answers: tuple[OtelAnswer, ...] = ()


def exchange_of_span(span: OtelSpan) -> OtelExchange:
    """The turns of a span, in the first notation that has any."""
    for attributes in _attributes_of(span):
        if "gen_ai.input.messages" in attributes or "gen_ai.output.messages" in attributes:
            return _from_parts(attributes)
    prompts = _by_number(span.attributes, _PROMPT)
    completions = _by_number(span.attributes, _COMPLETION)
    if prompts or completions:
        return _from_numbered(prompts, completions)
    return _from_events(span)


def tools_of_span(span: OtelSpan) -> tuple[Tool, ...] | UnsetType:
    """The tools of a span, in the first notation that has any."""
    for attributes in _attributes_of(span):
        if DEFINITIONS in attributes:
            logged = read_value(attributes[DEFINITIONS], tuple[LoggedTool, ...], "tool.definitions")
            return tools_from(logged, DEFINITIONS)
    numbered = _by_number(span.attributes, _TOOL)
    logged = read_value(numbered, tuple[LoggedTool, ...], "request.functions")
    return tools_from(logged, "llm.request.functions")


def _attributes_of(span: OtelSpan) -> tuple[Attributes, ...]:
    """The attributes of a span, then those of its event with the details of the call."""
    return (span.attributes, *(attributes for name, attributes in span.events if name == DETAILS))


def _by_number(fields: Mapping[str, object], pattern: re.Pattern[str]) -> list[dict[str, object]]:
    """Fields with names like `gen_ai.prompt.0.role`, one object per number, in its order."""
    groups: dict[int, dict[str, object]] = {}
    for name, value in fields.items():
        match = pattern.fullmatch(name)
        if match:
            groups.setdefault(int(match[1]), {})[match[2]] = value
    return [group for _, group in sorted(groups.items())]


def _from_parts(attributes: Attributes) -> OtelExchange:
    sent, answers = (
        read_value(attributes.get(f"gen_ai.{name}", []), tuple[OtelMessage, ...], name)
        for name in ("input.messages", "output.messages")
    )
    messages = (
        OtelAnswer(message_from_parts(turn, "gen_ai.output.messages"), turn.finish_reason)
        for turn in answers
    )
    instructions = attributes.get("gen_ai.system_instructions")
    return OtelExchange(messages_from_parts(instructions, sent), tuple(messages))


def _from_numbered(
    prompts: Sequence[dict[str, object]], completions: Sequence[dict[str, object]]
) -> OtelExchange:
    sent = (_turn(_with_tool_calls(fields)) for fields in prompts)
    answers = (
        OtelAnswer(
            _turn({"role": "assistant", **_with_tool_calls(fields)}),
            _text(fields.get("finish_reason")),
        )
        for fields in completions
    )
    return OtelExchange(tuple(sent), tuple(answers))


def _with_tool_calls(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields of a turn with its numbered tool calls as a list."""
    calls = [
        {"id": call.pop("id", None), "function": call} for call in _by_number(fields, _TOOL_CALL)
    ]
    plain = {name: value for name, value in fields.items() if "." not in name}
    return {**plain, "tool_calls": calls} if calls else plain


def _from_events(span: OtelSpan) -> OtelExchange:
    sent: list[Message] = []
    answers: list[OtelAnswer] = []
    for name, attributes in span.events:
        if name in _TURN_EVENTS:
            sent.append(_turn({"role": _TURN_EVENTS[name], **_content_of(attributes)}))
        elif name == "gen_ai.choice":
            answers.append(_choice(_content_of(attributes)))
        elif name == "gen_ai.content.prompt":
            sent.extend(_turns(attributes.get("gen_ai.prompt", [])))
        elif name == "gen_ai.content.completion":
            messages = _turns(attributes.get("gen_ai.completion", []))
            answers.extend(OtelAnswer(message) for message in messages)
    return OtelExchange(tuple(sent), tuple(answers))


def _content_of(attributes: Attributes) -> Mapping[str, object]:
    """The fields of an event's turn: the attributes, or JSON in one of them."""
    content = attributes.get("gen_ai.event.content")
    fields = (
        attributes if content is None else read_value(content, dict[str, object], "event.content")
    )
    renamed = {"id": "tool_call_id"} if "tool_calls" not in fields else {}
    return {
        renamed.get(name, name): _decoded(value) if name in ("message", "tool_calls") else value
        for name, value in fields.items()
    }


def _choice(fields: Mapping[str, object]) -> OtelAnswer:
    message = fields.get("message", fields)
    if isinstance(message, str):
        message = {"content": message}
    calls = {"tool_calls": fields["tool_calls"]} if "tool_calls" in fields else {}
    if not isinstance(message, Mapping):
        raise BrokenRow("expected `object` - at `gen_ai.choice.message`")
    turn = _turn({"role": "assistant", **calls, **message})
    return OtelAnswer(turn, _text(fields.get("finish_reason")))


def _turns(value: object) -> Iterator[Message]:
    for fields in read_value(value, list[dict[str, object]], "prompt"):
        yield _turn(fields)


def _turn(fields: Mapping[str, object]) -> Message:
    return message_of(read_value(dict(fields), OpenAITurn, "message"), "gen_ai.message")


def _decoded(value: object) -> object:
    """The value inside JSON text; any other value unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
