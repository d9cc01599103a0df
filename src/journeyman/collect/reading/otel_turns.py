"""What was said in a GenAI span, in each way that the conventions have had.

Now: `gen_ai.input.messages` and `gen_ai.output.messages` with parts, in the span or in its event.
Before: one event a turn (`gen_ai.user.message`, `gen_ai.choice`), or two with JSON in them
(`gen_ai.content.prompt`). And the numbered attributes of OpenLLMetry, `gen_ai.prompt.0.content`.
Reasoning is left away. Instrumentations record content only where they are told to.

The tools that were on offer in a GenAI span, in each way that they are written.

Now: `gen_ai.tool.definitions`, in the span or in its event. And the numbered attributes of
OpenLLMetry, `llm.request.functions.0.name`.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct, UnsetType

from journeyman.collect.reading.calls import offered_in
from journeyman.collect.reading.format import Faulty
from journeyman.collect.reading.openai_turns import OpenAITurn, message_of
from journeyman.collect.reading.otel_parts import (
    OtelMessage,
    message_from_parts,
    messages_from_parts,
    read_value,
)
from journeyman.collect.reading.otel_parts import read_value as _read
from journeyman.collect.reading.otel_spans import Attributes, OtelSpan
from journeyman.data.log_turns import LoggedTool
from journeyman.records import Message, Tool

_NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,5})\.(.+)")

_CALL = re.compile(r"tool_calls\.(\d{1,5})\.(id|name|arguments)")

_TURN_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}

DETAILS = "gen_ai.client.inference.operation.details"


class OtelAnswer(Struct, frozen=True):
    """One answer and why it ended."""

    message: Message
    finish_reason: str | None = None


class OtelExchange(Struct, frozen=True):
    """What was sent in a span and what came back."""

    sent: tuple[Message, ...] = ()
    answers: tuple[OtelAnswer, ...] = ()


def spoken_in(span: OtelSpan) -> OtelExchange:
    """The turns of a span in the first way that gives any."""
    details = [attributes for name, attributes in span.events if name == DETAILS]
    for attributes in (span.attributes, *details):
        if "gen_ai.input.messages" in attributes or "gen_ai.output.messages" in attributes:
            return _structured(attributes)
    if any(_NUMBERED.fullmatch(name) for name in span.attributes):
        return _numbered(span.attributes)
    return _from_events(span)


def _structured(attributes: Attributes) -> OtelExchange:
    instructions = attributes.get("gen_ai.system_instructions")
    sent = _read(
        attributes.get("gen_ai.input.messages", []), tuple[OtelMessage, ...], "input.messages"
    )
    came = _read(
        attributes.get("gen_ai.output.messages", []), tuple[OtelMessage, ...], "output.messages"
    )
    answers = (
        OtelAnswer(message_from_parts(said, "gen_ai.output.messages"), said.finish_reason)
        for said in came
    )
    return OtelExchange(messages_from_parts(instructions, sent), tuple(answers))


def _numbered(attributes: Attributes) -> OtelExchange:
    found: dict[str, dict[int, dict[str, object]]] = {"prompt": {}, "completion": {}}
    for name, value in attributes.items():
        match = _NUMBERED.fullmatch(name)
        if match:
            found[match[1]].setdefault(int(match[2]), {})[match[3]] = value
    sent = (_turn(_with_calls(fields)) for _, fields in sorted(found["prompt"].items()))
    answers = (
        OtelAnswer(
            _turn({"role": "assistant", **_with_calls(fields)}),
            _text(fields.get("finish_reason")),
        )
        for _, fields in sorted(found["completion"].items())
    )
    return OtelExchange(tuple(sent), tuple(answers))


def _with_calls(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields of a turn with its numbered calls as a list."""
    calls: dict[int, dict[str, object]] = {}
    for name, value in fields.items():
        match = _CALL.fullmatch(name)
        if match:
            calls.setdefault(int(match[1]), {})[match[2]] = value
    plain = {name: value for name, value in fields.items() if "." not in name}
    listed = [{"id": call.pop("id", None), "function": call} for _, call in sorted(calls.items())]
    return {**plain, "tool_calls": listed} if listed else plain


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
            came = _turns(attributes.get("gen_ai.completion", []))
            answers.extend(OtelAnswer(message) for message in came)
    return OtelExchange(tuple(sent), tuple(answers))


def _content_of(attributes: Attributes) -> Mapping[str, object]:
    """The fields of an event's turn: beside the attributes, or as JSON in one of them."""
    inside = attributes.get("gen_ai.event.content")
    fields = attributes if inside is None else _read(inside, dict[str, object], "event.content")
    named = {"id": "tool_call_id"} if "tool_calls" not in fields else {}
    return {
        named.get(name, name): _opened(value) if name in ("message", "tool_calls") else value
        for name, value in fields.items()
    }


def _choice(fields: Mapping[str, object]) -> OtelAnswer:
    message = fields.get("message", fields)
    if isinstance(message, str):
        message = {"content": message}
    calls = {"tool_calls": fields["tool_calls"]} if "tool_calls" in fields else {}
    if not isinstance(message, Mapping):
        raise Faulty("expected `object` - at `gen_ai.choice.message`")
    turn = _turn({"role": "assistant", **calls, **message})
    return OtelAnswer(turn, _text(fields.get("finish_reason")))


def _turns(value: object) -> Iterator[Message]:
    for fields in _read(value, list[dict[str, object]], "prompt"):
        yield _turn(fields)


def _turn(fields: Mapping[str, object]) -> Message:
    return message_of(_read(dict(fields), OpenAITurn, "message"), "gen_ai.message")


def _opened(value: object) -> object:
    """A value that may be written as JSON text."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


DEFINITIONS = "gen_ai.tool.definitions"

_NUMBERED_TOOL = re.compile(r"llm\.request\.functions\.(\d{1,5})\.(name|description|parameters)")


def offered_by(span: OtelSpan) -> tuple[Tool, ...] | UnsetType:
    """The tools of a span in the first way that gives any."""
    details = [attributes for name, attributes in span.events if name == DETAILS]
    for attributes in (span.attributes, *details):
        if DEFINITIONS in attributes:
            logged = read_value(attributes[DEFINITIONS], tuple[LoggedTool, ...], "tool.definitions")
            return offered_in(logged, DEFINITIONS)
    return offered_in(_numbered_tools(span.attributes), "llm.request.functions")


def _numbered_tools(attributes: Attributes) -> tuple[LoggedTool, ...]:
    found: dict[int, dict[str, object]] = {}
    for name, value in attributes.items():
        match = _NUMBERED_TOOL.fullmatch(name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    listed = [fields for _, fields in sorted(found.items())]
    return read_value(listed, tuple[LoggedTool, ...], "request.functions")
