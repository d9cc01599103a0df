"""Values of the `llm` tool's tables: SQLite holds any type anywhere, so each one is checked."""

import sqlite3
from collections.abc import Mapping

import msgspec

from journeyman.collect.formats.format import Faulty


def text_at(row: sqlite3.Row, column: str) -> str | None:
    """A text or None. Raises Faulty for anything else."""
    value = row[column]
    if value is None or isinstance(value, str):
        return value
    raise Faulty(f"expected `str | null`, got `{type(value).__name__}` - at `{column}`")


def whole_at(row: sqlite3.Row, column: str, columns: frozenset[str]) -> int | None:
    """A whole number or None, also where the table is older than the column."""
    value = row[column] if column in columns else None
    if value is None or isinstance(value, int):
        return value
    raise Faulty(f"expected `int | null`, got `{type(value).__name__}` - at `{column}`")


def object_of(text: str | None) -> Mapping[str, object]:
    """A JSON object in a text; empty where the text holds none (other plugins write there too)."""
    try:
        found = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def max_tokens_in(options: Mapping[str, object]) -> int | None:
    """The limit of an answer, under the names that the tool's plugins give it."""
    names = ("max_tokens", "max_output_tokens", "num_predict")
    found = (options.get(name) for name in names)
    return next(
        (value for value in found if isinstance(value, int) and not isinstance(value, bool)), None
    )


def finish_in(response: Mapping[str, object]) -> str | None:
    """Why an answer ended, where the provider's own payload says so."""
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    places = (response, first if isinstance(first, dict) else {})
    names = ("finish_reason", "stop_reason")
    found = (place.get(name) for place in places for name in names)
    return next((value for value in found if isinstance(value, str)), None)
