"""The spans of an OpenTelemetry file from any exporter, with plain attributes.

Covered: one span per line with attributes as an object (Python's and JavaScript's exporters) or as
a list of keys and values, and OTLP's JSON with `resourceSpans` (the collector's file exporter).
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from journeyman.collect.reading.json_rows import JsonObject
from journeyman.collect.reading.request_response import seconds_between
from journeyman.collect.reading.row_result import BrokenRow

Attributes = Mapping[str, object]
_SCOPES = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans")
NANOSECONDS = 1e-9


class OtelSpan(Struct, frozen=True):
    """One span: its attributes, its events as (name, attributes), and whether it failed."""

    attributes: Attributes
    events: tuple[tuple[str, Attributes], ...]
    failed: bool
    duration_s: float | None


def spans_in(row: JsonObject) -> Iterator[OtelSpan]:
    """The spans of one line."""
    envelopes = row.get("resourceSpans", row.get("resource_spans"))
    if envelopes is None:
        yield _span(row)
        return
    for envelope in _objects(envelopes, "resourceSpans"):
        for name in _SCOPES:
            for scope in _objects(envelope.get(name, []), name):
                for span in _objects(scope.get("spans", []), "spans"):
                    yield _span(span)


def attributes_of(value: object) -> Attributes:
    """Attributes as one object with plain values."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    pairs = _objects(value, "attributes")
    return {str(pair.get("key")): _plain(pair.get("value")) for pair in pairs}


def _span(fields: JsonObject) -> OtelSpan:
    events = tuple(
        (
            str(event.get("name", event.get("event_name"))),
            {**attributes_of(event.get("attributes")), **_body(event)},
        )
        for event in _objects(fields.get("events") or [], "events")
    )
    return OtelSpan(
        attributes_of(fields.get("attributes")), events, _failed(fields), _duration_s(fields)
    )


def _body(event: JsonObject) -> Attributes:
    """The fields of an event's body, if it has one; they are merged with its attributes."""
    body = event.get("body")
    if not isinstance(body, dict):
        return {}
    plain = _plain(body) if len(body) == 1 else body
    return plain if isinstance(plain, dict) else {}


def _failed(fields: JsonObject) -> bool:
    status = fields.get("status")
    code = status.get("code", status.get("status_code")) if isinstance(status, dict) else status
    return code == 2 or (isinstance(code, str) and code.upper().endswith("ERROR"))


def _duration_s(fields: JsonObject) -> float | None:
    for first, last in (
        ("startTimeUnixNano", "endTimeUnixNano"),
        ("start_time_unix_nano", "end_time_unix_nano"),
    ):
        start, end = _whole(fields.get(first)), _whole(fields.get(last))
        if start is not None and end is not None:
            return (end - start) * NANOSECONDS
    return seconds_between(fields.get("start_time"), fields.get("end_time"))


def _whole(value: object) -> int | None:
    """A whole number; OTLP writes 64-bit integers as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    is_text = isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit()
    return int(value) if is_text and isinstance(value, str) else None


def _plain(value: object) -> object:
    """The value inside one of OTLP's typed values; any other value unchanged."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "intValue":
        return _whole(inner)
    if kind in ("stringValue", "doubleValue", "boolValue", "bytesValue"):
        return inner
    values = inner.get("values", []) if isinstance(inner, dict) else []
    if kind == "arrayValue":
        return [_plain(one) for one in values] if isinstance(values, list) else None
    if kind == "kvlistValue":
        return attributes_of(values)
    return value


def _objects(value: object, name: str) -> list[JsonObject]:
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    raise BrokenRow(f"expected a list of objects - at `{name}`")
