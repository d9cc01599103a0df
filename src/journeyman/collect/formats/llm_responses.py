"""The table `responses` of the `llm` tool's log: one row a call, linked by `conversation_id`.

A conversation's system prompt is logged with the call that brought it; fragments and tool calls
stand in tables of their own, which older files lack.

Values of the `llm` tool's tables: SQLite holds any type anywhere, so each one is checked.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec

from journeyman.collect.reading.calls import ModelCall, interaction
from journeyman.collect.reading.format import Faulty, Item, Unusable, made
from journeyman.records import Message, ToolCall

Tables = Mapping[str, frozenset[str]]

_COLUMNS = frozenset(
    {"id", "model", "prompt", "system", "response", "conversation_id", "datetime_utc"}
)

_ORDER = "SELECT rowid AS line FROM responses ORDER BY conversation_id, datetime_utc, id"


def stand_in(tables: Tables) -> bool:
    """Whether the table is there, with the columns that are needed."""
    return tables.get("responses", frozenset()) >= _COLUMNS


def read(
    connection: sqlite3.Connection, tables: Tables, name: str, agent: str, known: set[str]
) -> Iterator[list[Item]]:
    """The calls in the order of their conversations, but for those whose ids are `known`."""
    log = _Responses(connection, tables, name, agent)
    for (line,) in connection.execute(_ORDER):
        yield made(line, partial(log.items, line, known))


class _Responses:
    """Rows read one after the other, with the turns of the conversation so far."""

    def __init__(
        self, connection: sqlite3.Connection, tables: Tables, name: str, agent: str
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._name = name
        self._agent = agent
        self._conversation: str | None = None
        self._turns: tuple[Message, ...] = ()
        self._broken = ""

    def items(self, line: int, known: set[str]) -> Iterator[Item]:
        """The interaction of one row, which is from then on part of its conversation."""
        row = self._connection.execute(
            "SELECT * FROM responses WHERE rowid = ?", (line,)
        ).fetchone()
        conversation = text_at(row, "conversation_id")
        if conversation is None or conversation != self._conversation:
            self._conversation, self._turns, self._broken = conversation, (), ""
        before, self._broken = self._broken, "the call before it in its conversation is unreadable"
        if before:
            raise Unusable(before)
        call = self._call(row, line)
        assert call.answer is not None
        self._turns, self._broken = (*call.sent, call.answer), ""
        if text_at(row, "id") in known:
            raise Unusable("it stands in `turns` too")
        yield interaction(call)

    def _call(self, row: sqlite3.Row, line: int) -> ModelCall:
        columns = self._tables["responses"]
        row_id = text_at(row, "id") or ""
        if self._linked("prompt_attachments", row_id):
            raise Unusable("a call with an attachment")
        duration_ms = whole_at(row, "duration_ms", columns)
        options = object_of(text_at(row, "options_json") if "options_json" in columns else None)
        payload = object_of(text_at(row, "response_json") if "response_json" in columns else None)
        resolved = text_at(row, "resolved_model") if "resolved_model" in columns else None
        calls = tuple(
            ToolCall(
                text_at(one, "tool_call_id") or "",
                text_at(one, "name") or "",
                text_at(one, "arguments") or "{}",
            )
            for one in self._linked("tool_calls", row_id)
        )
        return ModelCall(
            line=line,
            format=self._name,
            agent=self._agent,
            sent=self._sent(row, row_id),
            answer=Message("assistant", text_at(row, "response") or "", tool_calls=calls),
            model=resolved or text_at(row, "model"),
            conversation=self._conversation,
            duration_s=None if duration_ms is None else duration_ms / 1000,
            finish_reason=finish_in(payload),
            max_tokens=max_tokens_in(options),
            answer_tokens=whole_at(row, "output_tokens", columns),
        )

    def _sent(self, row: sqlite3.Row, row_id: str) -> tuple[Message, ...]:
        system = self._joined("system_fragments", row_id, text_at(row, "system"))
        turns = self._turns
        # A prompt that is logged again with a later call was not sent a second time.
        if system and Message("system", system) not in turns:
            turns = (*turns, Message("system", system))
        results = tuple(
            Message(
                "tool",
                text_at(one, "output") or "",
                tool_call_id=text_at(one, "tool_call_id"),
                name=text_at(one, "name"),
            )
            for one in self._linked("tool_results", row_id)
        )
        prompt = self._joined("prompt_fragments", row_id, text_at(row, "prompt"))
        said = (Message("user", prompt),) if prompt or not results else ()
        return (*turns, *results, *said)

    def _joined(self, table: str, row_id: str, text: str | None) -> str:
        fragments = [text_at(one, "content") or "" for one in self._fragments(table, row_id)]
        return "\n".join([*fragments, text] if text else fragments)

    def _fragments(self, table: str, row_id: str) -> list[sqlite3.Row]:
        if table not in self._tables or "fragments" not in self._tables:
            return []
        return self._connection.execute(
            f"SELECT f.content FROM {table} AS p JOIN fragments AS f ON f.id = p.fragment_id"  # noqa: S608 - our own words
            ' WHERE p.response_id = ? ORDER BY p."order"',
            (row_id,),
        ).fetchall()

    def _linked(self, table: str, row_id: str) -> list[sqlite3.Row]:
        if table not in self._tables:
            return []
        return self._connection.execute(
            f"SELECT * FROM {table} WHERE response_id = ? ORDER BY rowid",  # noqa: S608 - our own words
            (row_id,),
        ).fetchall()


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
