"""The tables `turns`, `messages` and `parts` of the `llm` tool's log (0.32 and later).

A turn is one call: the chain of messages up to `parent_message_hash` was sent, what stands between
there and `tip_message_hash` came back. Text may refer to fragments. Reasoning is left away.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec

from journeyman.collect.formats.llm_responses import (
    finish_in,
    max_tokens_in,
    object_of,
    text_at,
    whole_at,
)
from journeyman.collect.reading.calls import ModelCall, interaction
from journeyman.collect.reading.format import Faulty, Item, Unusable, made
from journeyman.records import Message, ToolCall

Tables = Mapping[str, frozenset[str]]

_TURNS = frozenset({"id", "thread_id", "parent_message_hash", "tip_message_hash", "model"})
_MESSAGES = frozenset({"hash", "parent_hash", "role"})
_PARTS = frozenset({"message_hash", "position", "type", "text", "payload"})
LONGEST_CHAIN = 10_000


def stand_in(tables: Tables) -> bool:
    """Whether the tables are there, with the columns that are needed."""
    needed = {"turns": _TURNS, "messages": _MESSAGES, "parts": _PARTS}
    return all(tables.get(name, frozenset()) >= columns for name, columns in needed.items())


def read(
    connection: sqlite3.Connection, tables: Tables, name: str, agent: str, known: set[str]
) -> Iterator[list[Item]]:
    """The calls in their order. Their ids are added to `known`."""
    for row in connection.execute("SELECT rowid AS line, * FROM turns ORDER BY rowid"):
        known.add(str(row["id"]))
        yield made(row["line"], partial(_items, connection, tables, row, name, agent))


def _items(
    connection: sqlite3.Connection, tables: Tables, row: sqlite3.Row, name: str, agent: str
) -> Iterator[Item]:
    yield interaction(_call(connection, tables, row, name, agent))


def _call(
    connection: sqlite3.Connection, tables: Tables, row: sqlite3.Row, name: str, agent: str
) -> ModelCall:
    columns = tables["turns"]
    parent = text_at(row, "parent_message_hash")
    duration_ms = whole_at(row, "duration_ms", columns)
    options = text_at(row, "options_json") if "options_json" in columns else None
    payload = text_at(row, "response_json") if "response_json" in columns else None
    resolved = text_at(row, "resolved_model") if "resolved_model" in columns else None
    came_back = _chain(connection, text_at(row, "tip_message_hash"), until=parent)
    if len(came_back) != 1 or came_back[0].role != "assistant":
        raise Unusable(f"{len(came_back)} messages came back, not one of the assistant's")
    return ModelCall(
        line=row["line"],
        format=name,
        agent=agent,
        sent=tuple(_chain(connection, parent, until=None)),
        answer=came_back[0],
        model=resolved or text_at(row, "model"),
        conversation=text_at(row, "thread_id"),
        duration_s=None if duration_ms is None else duration_ms / 1000,
        finish_reason=finish_in(object_of(payload)),
        max_tokens=max_tokens_in(object_of(options)),
        answer_tokens=whole_at(row, "output_tokens", columns),
    )


def _chain(connection: sqlite3.Connection, tip: str | None, *, until: str | None) -> list[Message]:
    """The messages after `until` up to `tip`, oldest first."""
    found: list[list[Message]] = []
    while tip is not None and tip != until:
        row = connection.execute("SELECT * FROM messages WHERE hash = ?", (tip,)).fetchone()
        if row is None or len(found) > LONGEST_CHAIN:
            raise Faulty(f"the chain of messages breaks at `{tip}`")
        found.append(_messages(connection, tip, text_at(row, "role") or ""))
        tip = text_at(row, "parent_hash")
    return [message for group in reversed(found) for message in group]


def _messages(connection: sqlite3.Connection, name: str, role: str) -> list[Message]:
    parts = connection.execute(
        "SELECT * FROM parts WHERE message_hash = ? ORDER BY position", (name,)
    ).fetchall()
    for part in parts:
        if part["type"] not in ("text", "reasoning", "tool_call", "tool_result"):
            raise Unusable(f"content of type `{part['type']}` is no text")
    texts = [_text(connection, part) for part in parts if part["type"] == "text"]
    if role == "tool":
        return [_result(part) for part in parts if part["type"] == "tool_result"]
    if role == "assistant":
        calls = tuple(_tool_call(part) for part in parts if part["type"] == "tool_call")
        return [Message("assistant", "".join(texts), tool_calls=calls)]
    if role == "system":
        return [Message("system", "\n".join(texts))]
    if role == "user":
        return [Message("user", "\n".join(texts))]
    raise Faulty(f"unknown role `{role}` - at `messages.role`")


def _text(connection: sqlite3.Connection, part: sqlite3.Row) -> str:
    payload = object_of(text_at(part, "payload"))
    return text_at(part, "text") or _resolved(connection, payload.get("text_ref"))


def _resolved(connection: sqlite3.Connection, pieces: object) -> str:
    """The text of a list of literals and fragments."""
    found = []
    for piece in pieces if isinstance(pieces, list) else ():
        literal = piece.get("literal") if isinstance(piece, dict) else None
        fragment = piece.get("fragment") if isinstance(piece, dict) else None
        if isinstance(literal, str):
            found.append(literal)
            continue
        row = None
        if isinstance(fragment, int):
            row = connection.execute(
                "SELECT content FROM fragments WHERE id = ?", (fragment,)
            ).fetchone()
        if row is None:
            raise Faulty("a text refers to a fragment that is not there - at `parts.payload`")
        found.append(text_at(row, "content") or "")
    return "".join(found)


def _tool_call(part: sqlite3.Row) -> ToolCall:
    payload = object_of(text_at(part, "payload"))
    if payload.get("server_executed"):
        raise Unusable("a tool that the server itself ran")
    arguments = msgspec.json.encode(payload.get("arguments", {})).decode()
    return ToolCall(_word(payload, "tool_call_id"), _word(payload, "name"), arguments)


def _result(part: sqlite3.Row) -> Message:
    payload = object_of(text_at(part, "payload"))
    if payload.get("attachments"):
        raise Unusable("a tool that gave back an attachment")
    return Message(
        "tool",
        _word(payload, "output"),
        tool_call_id=_word(payload, "tool_call_id") or None,
        name=_word(payload, "name") or None,
    )


def _word(payload: Mapping[str, object], name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""
