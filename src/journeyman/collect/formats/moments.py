"""How long a call took, from the fields in which logs say so."""

import datetime
from collections.abc import Mapping

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
