"""Finds the request, the response, the conversation and the duration in a logged model call.

Covered: `{"request": {...}, "response": {...}}`, the same with `body` inside, under the names
below, as JSON text in a string, and flat rows with the fields of both.
Not covered: streamed chunks; log the whole response instead.
"""

import datetime
from typing import TypeVar

import msgspec
from msgspec import Struct

from journeyman.collect.reading.json_rows import JsonObject, json_object
from journeyman.collect.reading.row_result import BrokenRow
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
LONGEST_ID = 255
_SECONDS_PER_UNIT = {
    "duration_s": 1.0,
    "latency_s": 1.0,
    "duration_ms": 1e-3,
    "latency_ms": 1e-3,
    "elapsed_ms": 1e-3,
}
_START_AND_END = (
    ("start_time", "end_time"),
    ("startTime", "endTime"),
    ("started_at", "ended_at"),
    ("started_at", "finished_at"),
    ("requested_at", "responded_at"),
)
MILLISECONDS_FROM = 1e11
"""A moment above this (the year 5138 in seconds) is in milliseconds."""


class ExchangeSide(Struct, frozen=True):
    """The request or the response of a call: its JSON path and its fields."""

    where: str
    fields: JsonObject

    def decode(self, kind: type[T]) -> T:
        """The fields checked against a type. Raises BrokenRow with the whole JSON path."""
        try:
            return msgspec.convert(self.fields, kind)
        except msgspec.ValidationError as error:
            text = words(error)
            if " - at `$" in text:
                raise BrokenRow(text.replace(" - at `$", f" - at `{self.where}", 1)) from error
            raise BrokenRow(f"{text} - at `{self.where}`") from error


class Exchange(Struct, frozen=True):
    """The two sides of a call. `response` is None if the call failed."""

    request: ExchangeSide
    response: ExchangeSide | None


def exchange_in(row: JsonObject, response_key: str) -> Exchange:
    """The request with `messages` and the response with a key of its own.

    Raises BrokenRow if one of them is missing and the row does not say that the call failed.
    """
    request = _side(row, _REQUESTS, "messages")
    if request is None:
        raise BrokenRow("object missing required field `messages` - at `$.request`")
    response = _side(row, _RESPONSES, response_key)
    if response is None and not _failed(row):
        raise BrokenRow(f"object missing required field `{response_key}` - at `$.response`")
    return Exchange(request, response)


def mismatch_of_exchange(row: JsonObject, response_key: str) -> str:
    """Why `exchange_in` finds no call in a row, in a few words; empty if it finds one."""
    if _side(row, _REQUESTS, "messages") is None:
        return "no request with `messages`"
    has_response = _side(row, _RESPONSES, response_key) is not None or _failed(row)
    return "" if has_response else f"no response with `{response_key}`"


def conversation_in(row: JsonObject, request: JsonObject) -> str | None:
    """The id of the conversation that a call belongs to, from the headers or the fields."""
    outer = row.get("request")
    headers = outer.get("headers") if isinstance(outer, dict) else row.get("headers")
    places = [row, row.get("metadata"), request, request.get("metadata")]
    objects = [place for place in places if isinstance(place, dict)]
    ids = [place.get(name) for place in objects for name in _CONVERSATIONS]
    if isinstance(headers, dict):
        lower = {str(name).casefold(): value for name, value in headers.items()}
        ids = [lower.get(name) for name in _HEADERS] + ids
    return next((one for one in ids if isinstance(one, str) and 0 < len(one) <= LONGEST_ID), None)


def text_in(row: JsonObject, *names: str) -> str | None:
    """The first of some fields that holds text."""
    values = (row.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), None)


def _failed(row: JsonObject) -> bool:
    side = _side(row, _RESPONSES, "error")
    return side is not None and bool(side.fields["error"])


def _side(row: JsonObject, names: tuple[str, ...], key: str) -> ExchangeSide | None:
    """The part of a row, under one of the names or flat, that has a key."""
    for name in names:
        outer = json_object(row.get(name))
        if outer is None:
            continue
        if key in outer:
            return ExchangeSide(f"$.{name}", outer)
        for inner_name in _INNER:
            inner = json_object(outer.get(inner_name))
            if inner is not None and key in inner:
                return ExchangeSide(f"$.{name}.{inner_name}", inner)
    return ExchangeSide("$", row) if key in row else None


def duration_s(row: JsonObject) -> float | None:
    """Duration of a call in seconds, or None if the row has none in a known unit."""
    for name, scale in _SECONDS_PER_UNIT.items():
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value * scale
    for start, end in _START_AND_END:
        seconds = seconds_between(row.get(start), row.get(end))
        if seconds is not None:
            return seconds
    return None


def seconds_between(start: object, end: object) -> float | None:
    """Seconds between two moments: ISO 8601 text, or seconds or milliseconds since 1970."""
    start_s, end_s = _moment_s(start), _moment_s(end)
    return None if start_s is None or end_s is None else end_s - start_s


def _moment_s(value: object) -> float | None:
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
