"""The columns of a call that the tables `turns` and `responses` of the `llm` tool share."""

import sqlite3

from journeyman.collect.reading.json_rows import JsonObject, json_object
from journeyman.collect.reading.model_call import ModelCall
from journeyman.collect.reading.sqlite import text_at, whole_at


def call_without_turns(row: sqlite3.Row, conversation: str | None) -> ModelCall:
    """The call of one row; what was sent and answered is in other tables."""
    duration_ms = whole_at(row, "duration_ms")
    # Other plugins write anything into these columns: without a JSON object nothing is known.
    options = json_object(text_at(row, "options_json")) or {}
    response = json_object(text_at(row, "response_json")) or {}
    return ModelCall(
        sent=(),
        answer=None,
        model=text_at(row, "resolved_model") or text_at(row, "model"),
        conversation=conversation,
        duration_s=None if duration_ms is None else duration_ms / 1000,
        finish_reason=_finish_reason(response),
        max_tokens=_max_tokens(options),
        answer_tokens=whole_at(row, "output_tokens"),
    )


def _max_tokens(options: JsonObject) -> int | None:
    """The token limit of the answer, under any of the names that the tool's plugins use."""
    names = ("max_tokens", "max_output_tokens", "num_predict")
    values = (options.get(name) for name in names)
    return next(
        (value for value in values if isinstance(value, int) and not isinstance(value, bool)), None
    )


def _finish_reason(response: JsonObject) -> str | None:
    """Why the answer ended, if the provider's own response says so."""
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    places = (response, first if isinstance(first, dict) else {})
    names = ("finish_reason", "stop_reason")
    values = (place.get(name) for place in places for name in names)
    return next((value for value in values if isinstance(value, str)), None)
