"""The table `responses` of the `llm` tool's log: one call per row, linked by `conversation_id`.

A conversation's system prompt is logged with the call that introduced it. Fragments and tool calls
have tables of their own, which older files lack.
"""

import sqlite3
from collections.abc import Iterator
from functools import partial

from msgspec.structs import replace

from journeyman.collect.reading.llm_call import call_without_turns
from journeyman.collect.reading.log_format import row_results
from journeyman.collect.reading.model_call import ModelCall, RowSource
from journeyman.collect.reading.row_result import RowResult, UnusableRow
from journeyman.collect.reading.sqlite import Tables, text_at
from journeyman.records import Message, ToolCall

_COLUMNS = frozenset(
    {"id", "model", "prompt", "system", "response", "conversation_id", "datetime_utc"}
)
_ORDER = "SELECT rowid AS line FROM responses ORDER BY conversation_id, datetime_utc, id"


def is_present(tables: Tables) -> bool:
    """Whether the table exists with the columns that are needed."""
    return tables.get("responses", frozenset()) >= _COLUMNS


def read(
    connection: sqlite3.Connection, tables: Tables, name: str, agent: str, known: set[str]
) -> Iterator[list[RowResult]]:
    """The calls in the order of their conversations, except those whose ids are `known`."""
    reader = _ResponsesReader(connection, tables, known)
    for (line,) in connection.execute(_ORDER):
        yield row_results(RowSource(line, name, agent), partial(reader.calls, line))


class _ResponsesReader:
    """Reads rows one after the other and keeps the turns of the current conversation."""

    def __init__(self, connection: sqlite3.Connection, tables: Tables, known: set[str]) -> None:
        self._connection = connection
        self._tables = tables
        self._known = known
        self._conversation: str | None = None
        self._turns: tuple[Message, ...] = ()
        self._is_broken = False

    def calls(self, line: int) -> Iterator[ModelCall]:
        """The call of one row. From then on it is part of its conversation."""
        row = self._connection.execute(
            "SELECT * FROM responses WHERE rowid = ?", (line,)
        ).fetchone()
        conversation = text_at(row, "conversation_id")
        if conversation is None or conversation != self._conversation:
            self._conversation, self._turns, self._is_broken = conversation, (), False
        if self._is_broken:
            raise UnusableRow("an earlier call of the conversation cannot be read")
        self._is_broken = True
        call = self._call(row)
        assert call.answer is not None
        self._turns, self._is_broken = (*call.sent, call.answer), False
        if text_at(row, "id") in self._known:
            raise UnusableRow("also in the table `turns`")
        yield call

    def _call(self, row: sqlite3.Row) -> ModelCall:
        row_id = text_at(row, "id") or ""
        if self._linked("prompt_attachments", row_id):
            raise UnusableRow("a call with an attachment")
        call = call_without_turns(row, self._conversation)
        tool_calls = tuple(
            ToolCall(
                text_at(one, "tool_call_id") or "",
                text_at(one, "name") or "",
                text_at(one, "arguments") or "{}",
            )
            for one in self._linked("tool_calls", row_id)
        )
        return replace(
            call,
            sent=self._sent(row, row_id),
            answer=Message("assistant", text_at(row, "response") or "", tool_calls=tool_calls),
        )

    def _sent(self, row: sqlite3.Row, row_id: str) -> tuple[Message, ...]:
        system = self._with_fragments("system_fragments", row_id, text_at(row, "system"))
        turns = self._turns
        # A system prompt that is logged again with a later call was not sent a second time.
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
        prompt = self._with_fragments("prompt_fragments", row_id, text_at(row, "prompt"))
        user = (Message("user", prompt),) if prompt or not results else ()
        return (*turns, *results, *user)

    def _with_fragments(self, table: str, row_id: str, text: str | None) -> str:
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
