"""OpenTelemetry spans that follow the GenAI conventions, one JSON object a line.

Every span of a model call is an interaction. Left out: other spans, spans of agents and tools
(they repeat the content of the calls inside them), and calls whose content was not recorded.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from journeyman.collect.reading.json_rows import JsonObject, ParsedRow, parsed_rows
from journeyman.collect.reading.log_format import (
    Format,
    FormatMatch,
    Sample,
    match_rows,
    row_results,
)
from journeyman.collect.reading.model_call import ModelCall, RowSource
from journeyman.collect.reading.otel_parts import read_value
from journeyman.collect.reading.otel_spans import Attributes, OtelSpan, spans_in
from journeyman.collect.reading.otel_turns import exchange_of_span, tools_of_span
from journeyman.collect.reading.request_response import text_in
from journeyman.collect.reading.row_result import (
    BrokenRow,
    RowResult,
    SkippedLogRow,
    UnusableRow,
)
from journeyman.data.role_prompts import ROLE_PROMPTS
from journeyman.files import LineFault
from journeyman.records import Message

NAME = "otel-genai"
_DECODER = msgspec.json.Decoder(dict[str, object])
_NOT_CALLS = frozenset(
    {"execute_tool", "invoke_agent", "create_agent", "invoke_workflow", "embeddings", "retrieval"}
)


def _read(path: Path, agent: str) -> Iterator[list[RowResult]]:
    for row in parsed_rows(path, _DECODER):
        yield [row] if isinstance(row, LineFault) else _results(row, agent)


def _results(row: ParsedRow[dict[str, object]], agent: str) -> list[RowResult]:
    """The results of all spans of a line. A broken span does not discard the others."""
    try:
        spans = list(spans_in(row.value))
    except BrokenRow as fault:
        return [LineFault(row.line, str(fault))]
    if not spans:
        return [SkippedLogRow(row.line, "no spans in it")]
    source = RowSource(row.line, NAME, agent)
    return [result for span in spans for result in row_results(source, partial(_calls, span))]


def _calls(span: OtelSpan) -> Iterator[ModelCall]:
    attributes = span.attributes
    if not any(name.startswith("gen_ai.") for name in attributes):
        raise UnusableRow("a span without `gen_ai.` attributes")
    operation = text_in(attributes, "gen_ai.operation.name")
    if operation in _NOT_CALLS:
        raise UnusableRow(f"a span of `{operation}`, not a model call")
    exchange = exchange_of_span(span)
    if not exchange.sent or (not exchange.answers and not span.failed):
        raise UnusableRow("a call whose content was not recorded")
    call = _call(span, exchange.sent)
    reasons = _finish_reasons(attributes)
    for place, answer in enumerate(exchange.answers):
        logged = reasons[place] if place < len(reasons) else None
        yield replace(
            call,
            answer=answer.message,
            finish_reason=answer.finish_reason or logged,
            answer_tokens=call.answer_tokens if len(exchange.answers) == 1 else None,
        )
    if not exchange.answers:
        yield call


def _call(span: OtelSpan, sent: tuple[Message, ...]) -> ModelCall:
    attributes = span.attributes
    agent = (text_in(attributes, "gen_ai.agent.name") or "").strip().casefold()
    return ModelCall(
        # Agent names are free text; only the known roles have a meaning here.
        agent=agent if agent in ROLE_PROMPTS else None,
        sent=sent,
        answer=None,
        provider=text_in(attributes, "gen_ai.provider.name", "gen_ai.system"),
        model=text_in(attributes, "gen_ai.response.model", "gen_ai.request.model"),
        conversation=text_in(attributes, "gen_ai.conversation.id"),
        duration_s=span.duration_s,
        max_tokens=_whole_in(attributes, "gen_ai.request.max_tokens"),
        answer_tokens=_whole_in(
            attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"
        ),
        offered=tools_of_span(span),
    )


def _finish_reasons(attributes: Attributes) -> list[str]:
    value = attributes.get("gen_ai.response.finish_reasons", [])
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [value]
    return read_value(value, list[str], "response.finish_reasons")


def _whole_in(attributes: Attributes, *names: str) -> int | None:
    values = (attributes.get(name) for name in names)
    return next((value for value in values if isinstance(value, int)), None)


def _match(sample: Sample) -> FormatMatch:
    match = match_rows(_mismatch)(sample)
    if match.is_match and not any("gen_ai." in str(row) for row in sample.rows):
        return FormatMatch(0, match.rows, "no attribute starts with `gen_ai.`")
    return match


def _mismatch(row: JsonObject) -> str:
    if isinstance(row.get("resourceSpans", row.get("resource_spans")), list):
        return ""
    return "" if isinstance(row.get("attributes"), dict | list) else "no `attributes`"


FORMAT = Format(
    name=NAME,
    description="OpenTelemetry GenAI spans as JSON lines",
    match=_match,
    read=_read,
)
