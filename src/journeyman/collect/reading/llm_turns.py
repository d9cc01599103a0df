"""The tables `turns`, `messages` and `parts` of the `llm` tool's log (0.32 and later).

A turn is one call: the chain of messages up to `parent_message_hash` was sent, the messages after
it up to `tip_message_hash` came back. Text may refer to fragments. Reasoning is not kept.
"""

import sqlite3
from collections.abc import Iterator
from functools import partial

import msgspec
from msgspec.structs import replace

from journeyman.collect.reading.json_rows import JsonObject, json_object
from journeyman.collect.reading.llm_call import call_without_turns
from journeyman.collect.reading.log_format import row_results
from journeyman.collect.reading.model_call import ModelCall, RowSource
from journeyman.collect.reading.row_result import BrokenRow, RowResult, UnusableRow
from journeyman.collect.reading.sqlite import Tables, text_at
from journeyman.records import Message, ToolCall

_NEEDED = {
    "turns": frozenset({"id", "thread_id", "parent_message_hash", "tip_message_hash", "model"}),
    "messages": frozenset({"hash", "parent_hash", "role"}),
    "parts": frozenset({"message_hash", "position", "type", "text", "payload"}),
}
LONGEST_CHAIN = 10_000


def is_present(tables: Tables) -> bool:
    """Whether the tables exist with the columns that are needed."""
    return all(tables.get(name, frozenset()) >= columns for name, columns in _NEEDED.items())


def read(
    connection: sqlite3.Connection, name: str, agent: str, known: set[str]
) -> Iterator[list[RowResult]]:
    """The calls in their order. Their ids are added to `known`."""
    for row in connection.execute("SELECT rowid AS line, * FROM turns ORDER BY rowid"):
        known.add(str(row["id"]))
        yield row_results(RowSource(row["line"], name, agent), partial(_calls, connection, row))


def _calls(connection: sqlite3.Connection, row: sqlite3.Row) -> Iterator[ModelCall]:
    call = call_without_turns(row, text_at(row, "thread_id"))
    parent = text_at(row, "parent_message_hash")
    answers = _chain(connection, text_at(row, "tip_message_hash"), until=parent)
    if len(answers) != 1 or answers[0].role != "assistant":
        raise UnusableRow(f"{len(answers)} messages came back, not one assistant message")
    yield replace(call, sent=tuple(_chain(connection, parent, until=None)), answer=answers[0])


def _chain(connection: sqlite3.Connection, tip: str | None, *, until: str | None) -> list[Message]:
    """The messages after `until` up to `tip`, oldest first."""
    groups: list[list[Message]] = []
    while tip is not None and tip != until:
        row = connection.execute("SELECT * FROM messages WHERE hash = ?", (tip,)).fetchone()
        if row is None or len(groups) > LONGEST_CHAIN:
            raise BrokenRow(f"the chain of messages breaks at `{tip}`")
        groups.append(_messages(connection, tip, text_at(row, "role") or ""))
        tip = text_at(row, "parent_hash")
    return [message for group in reversed(groups) for message in group]


def _messages(connection: sqlite3.Connection, name: str, role: str) -> list[Message]:
    parts = connection.execute(
        "SELECT * FROM parts WHERE message_hash = ? ORDER BY position", (name,)
    ).fetchall()
    for part in parts:
        if part["type"] not in ("text", "reasoning", "tool_call", "tool_result"):
            raise UnusableRow(f"content of type `{part['type']}` is not text")
    texts = [_text(connection, part) for part in parts if part["type"] == "text"]
    if role == "tool":
        return [_tool_result(part) for part in parts if part["type"] == "tool_result"]
    if role == "assistant":
        calls = tuple(_tool_call(part) for part in parts if part["type"] == "tool_call")
        return [Message("assistant", "".join(texts), tool_calls=calls)]
    if role == "system":
        return [Message("system", "\n".join(texts))]
    if role == "user":
        return [Message("user", "\n".join(texts))]
    raise BrokenRow(f"unknown role `{role}` - at `messages.role`")


def _text(connection: sqlite3.Connection, part: sqlite3.Row) -> str:
    payload = _payload(part)
    return text_at(part, "text") or _joined_pieces(connection, payload.get("text_ref"))


def _joined_pieces(connection: sqlite3.Connection, pieces: object) -> str:
    """The text of a list of literals and fragments."""
    texts = []
    for piece in pieces if isinstance(pieces, list) else ():
        literal = piece.get("literal") if isinstance(piece, dict) else None
        fragment = piece.get("fragment") if isinstance(piece, dict) else None
        if isinstance(literal, str):
            texts.append(literal)
            continue
        row = None
        if isinstance(fragment, int):
            row = connection.execute(
                "SELECT content FROM fragments WHERE id = ?", (fragment,)
            ).fetchone()
        if row is None:
            raise BrokenRow("a text refers to a missing fragment - at `parts.payload`")
        texts.append(text_at(row, "content") or "")
    return "".join(texts)


def _tool_call(part: sqlite3.Row) -> ToolCall:
    payload = _payload(part)
    if payload.get("server_executed"):
        raise UnusableRow("a tool that the server ran")
    arguments = msgspec.json.encode(payload.get("arguments", {})).decode()
    return ToolCall(_string_at(payload, "tool_call_id"), _string_at(payload, "name"), arguments)


def _tool_result(part: sqlite3.Row) -> Message:
    payload = _payload(part)
    if payload.get("attachments"):
        raise UnusableRow("a tool result with an attachment")
    return Message(
        "tool",
        _string_at(payload, "output"),
        tool_call_id=_string_at(payload, "tool_call_id") or None,
        name=_string_at(payload, "name") or None,
    )


def _payload(part: sqlite3.Row) -> JsonObject:
    return json_object(text_at(part, "payload")) or {}


def _string_at(payload: JsonObject, name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""
