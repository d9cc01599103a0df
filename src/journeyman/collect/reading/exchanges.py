"""Where a logged call keeps its request and its response, whatever program wrote it.

Covered: `{"request": {...}, "response": {...}}`, the same with `body` inside, under the names
below, as JSON text inside a string, and flat rows that hold the fields of both.
Not covered: streamed chunks; log the whole response instead.

How long a call took, from the fields in which logs say so.
"""

import datetime
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from journeyman.collect.reading.format import Faulty, JsonObject
from journeyman.data.strict_json import words

T = TypeVar("T")

_REQUESTS = ("request", "request_body", "req", "input", "kwargs")

_RESPONSES = ("response", "response_body", "res", "output")

_INNER = ("body", "json")

_CONVERSATIONS = ("conversation_id", "session_id", "thread_id", "prompt_cache_key")

_HEADERS = (
    "x-claude-code-session-id",
    "x-litellm-session-id",
    "x-session-id",
    "session-id",
    "thread-id",
)

LONGEST_NAME = 255


class ExchangeSide(Struct, frozen=True):
    """One side of a call: its JSON path and its fields."""

    where: str
    fields: JsonObject


def request_in(row: JsonObject) -> ExchangeSide | None:
    """The part of a row that holds `messages`."""
    return _part(row, _REQUESTS, "messages")


def response_in(row: JsonObject, key: str) -> ExchangeSide | None:
    """The part of a row that holds a key which only a response has."""
    return _part(row, _RESPONSES, key)


def failed(row: JsonObject) -> bool:
    """Whether a row says that its call failed."""
    found = _part(row, _RESPONSES, "error")
    return found is not None and bool(found.fields["error"])


def typed(part: ExchangeSide, kind: type[T]) -> T:
    """The fields of a part, checked; a fault names the whole path."""
    try:
        return msgspec.convert(part.fields, kind)
    except msgspec.ValidationError as error:
        text = words(error)
        if " - at `$" in text:
            raise Faulty(text.replace(" - at `$", f" - at `{part.where}", 1)) from error
        raise Faulty(f"{text} - at `{part.where}`") from error


def conversation_in(row: JsonObject, request: JsonObject) -> str | None:
    """The name of the conversation that a call belongs to, as the program or its headers say."""
    outer = row.get("request")
    headers = outer.get("headers") if isinstance(outer, dict) else row.get("headers")
    places = [row, row.get("metadata"), request, request.get("metadata")]
    named = [
        place.get(name) for place in places if isinstance(place, dict) for name in _CONVERSATIONS
    ]
    if isinstance(headers, dict):
        lower = {str(name).casefold(): value for name, value in headers.items()}
        named = [lower.get(name) for name in _HEADERS] + named
    return next(
        (name for name in named if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME), None
    )


def text_in(row: JsonObject, *names: str) -> str | None:
    """The first of some fields that holds a text."""
    found = (row.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _part(row: JsonObject, names: tuple[str, ...], key: str) -> ExchangeSide | None:
    for name in names:
        outer = _object(row.get(name))
        if outer is None:
            continue
        if key in outer:
            return ExchangeSide(f"$.{name}", outer)
        for inner in _INNER:
            found = _object(outer.get(inner))
            if found is not None and key in found:
                return ExchangeSide(f"$.{name}.{inner}", found)
    return ExchangeSide("$", row) if key in row else None


def _object(value: object) -> JsonObject | None:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


_SCALES = {
    "duration_s": 1.0,
    "latency_s": 1.0,
    "duration_ms": 1e-3,
    "latency_ms": 1e-3,
    "elapsed_ms": 1e-3,
}

_PAIRS = (
    ("start_time", "end_time"),
    ("startTime", "endTime"),
    ("started_at", "ended_at"),
    ("started_at", "finished_at"),
    ("requested_at", "responded_at"),
)

MILLISECONDS_FROM = 1e11
"""A moment above this (the year 5138 in seconds) is in milliseconds."""


def duration_s(row: Mapping[str, object]) -> float | None:
    """Seconds that a row says its call took, or None where it does not say so in a known unit."""
    for name, scale in _SCALES.items():
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value * scale
    for first, last in _PAIRS:
        found = seconds_between(row.get(first), row.get(last))
        if found is not None:
            return found
    return None


def seconds_between(first: object, last: object) -> float | None:
    """Seconds from one moment to another: ISO 8601 texts, or seconds or milliseconds since 1970."""
    start, end = _moment(first), _moment(last)
    return None if start is None or end is None else end - start


def _moment(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value / 1000 if value > MILLISECONDS_FROM else float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None
