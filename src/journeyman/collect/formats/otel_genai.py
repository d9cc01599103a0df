"""OpenTelemetry spans that follow the GenAI conventions, one JSON object a line.

Every span of a model's call is an interaction. Left out: other spans, spans of agents and tools
(they repeat what the calls inside them say), and calls whose content was not recorded.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from journeyman.collect.reading.calls import ModelCall, interaction
from journeyman.collect.reading.format import (
    Faulty,
    Format,
    FormatMatch,
    Item,
    JsonObject,
    Sample,
    SkippedLogRow,
    Unusable,
    by_row,
    made,
)
from journeyman.collect.reading.otel_parts import read_value
from journeyman.collect.reading.otel_spans import Attributes, OtelSpan, spans_in
from journeyman.collect.reading.otel_turns import offered_by, spoken_in
from journeyman.collect.reading.rows import Value, values_of
from journeyman.data.role_prompts import ROLE_PROMPTS
from journeyman.files import LineFault
from journeyman.records import Message

NAME = "otel-genai"
_DECODER = msgspec.json.Decoder(dict[str, object])
_NOT_CALLS = frozenset(
    {"execute_tool", "invoke_agent", "create_agent", "invoke_workflow", "embeddings", "retrieval"}
)


def _read(path: Path, agent: str) -> Iterator[list[Item]]:
    for row in values_of(path, _DECODER):
        yield [row] if isinstance(row, LineFault) else _of_row(row, agent)


def _of_row(row: Value[dict[str, object]], agent: str) -> list[Item]:
    """The items of all spans of a line: a broken span does not take the others with it."""
    try:
        spans = list(spans_in(row.value))
    except Faulty as fault:
        return [LineFault(row.line, str(fault))]
    if not spans:
        return [SkippedLogRow(row.line, "no spans in it")]
    items = (made(row.line, partial(_items, span, row.line, agent)) for span in spans)
    return [item for of_span in items for item in of_span]


def _items(span: OtelSpan, line: int, agent: str) -> Iterator[Item]:
    attributes = span.attributes
    if not any(name.startswith("gen_ai.") for name in attributes):
        raise Unusable("a span without `gen_ai.` attributes")
    operation = _text(attributes, "gen_ai.operation.name")
    if operation in _NOT_CALLS:
        raise Unusable(f"a span of `{operation}`, no call of a model")
    spoken = spoken_in(span)
    if not spoken.sent or (not spoken.answers and not span.failed):
        raise Unusable("a call whose content was not recorded")
    call = _call(span, line, agent, spoken.sent)
    reasons = _finish_reasons(attributes)
    for place, answered in enumerate(spoken.answers):
        logged = reasons[place] if place < len(reasons) else None
        yield interaction(
            replace(
                call,
                answer=answered.message,
                finish_reason=answered.finish_reason or logged,
                answer_tokens=call.answer_tokens if len(spoken.answers) == 1 else None,
            )
        )
    if not spoken.answers:
        yield interaction(call)


def _call(span: OtelSpan, line: int, agent: str, sent: tuple[Message, ...]) -> ModelCall:
    attributes = span.attributes
    named = (_text(attributes, "gen_ai.agent.name") or "").strip().casefold()
    return ModelCall(
        line=line,
        format=NAME,
        # Names of agents are free text; only the roles that are known here mean something.
        agent=named if named in ROLE_PROMPTS else agent,
        sent=sent,
        answer=None,
        provider=_text(attributes, "gen_ai.provider.name", "gen_ai.system"),
        model=_text(attributes, "gen_ai.response.model", "gen_ai.request.model"),
        conversation=_text(attributes, "gen_ai.conversation.id"),
        duration_s=span.duration_s,
        max_tokens=_whole(attributes, "gen_ai.request.max_tokens"),
        answer_tokens=_whole(
            attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"
        ),
        offered=offered_by(span),
    )


def _finish_reasons(attributes: Attributes) -> list[str]:
    value = attributes.get("gen_ai.response.finish_reasons", [])
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [value]
    return read_value(value, list[str], "response.finish_reasons")


def _text(attributes: Attributes, *names: str) -> str | None:
    found = (attributes.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _whole(attributes: Attributes, *names: str) -> int | None:
    found = (attributes.get(name) for name in names)
    return next((value for value in found if isinstance(value, int)), None)


def _misfit(sample: Sample) -> FormatMatch:
    fit = by_row(_against)(sample)
    if fit.good and not any("gen_ai." in str(row) for row in sample.rows):
        return FormatMatch(0, fit.n, "no attribute begins with `gen_ai.`")
    return fit


def _against(row: JsonObject) -> str:
    if isinstance(row.get("resourceSpans", row.get("resource_spans")), list):
        return ""
    return "" if isinstance(row.get("attributes"), dict | list) else "no `attributes`"


FORMAT = Format(
    name=NAME,
    what="OpenTelemetry GenAI spans as JSON lines",
    misfit=_misfit,
    read=_read,
)
