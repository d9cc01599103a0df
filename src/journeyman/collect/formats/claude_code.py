"""Claude Code's session files: one JSON object an event, linked by `parentUuid`.

One interaction for each answer that ends a user's request, with all turns before it on its branch
as context, tool calls and their results included. Sidechains (subagents) are branches of their own.
Left out: meta events, thinking, answers that were interrupted, and what the program sends but does
not log (its system prompt, reminders). A whole session is held in memory.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from journeyman.collect.formats.claude_session import (
    INTERRUPTED,
    SYNTHETIC,
    ClaudeEvent,
    ClaudeSession,
    is_request,
)
from journeyman.collect.formats.format import (
    Faulty,
    Format,
    Item,
    JsonObject,
    Unusable,
    by_row,
    made,
)
from journeyman.collect.formats.rows import Value, values_of
from journeyman.collect.formats.turns import ModelCall, interaction
from journeyman.errors import UsageError

NAME = "claude-code"
SESSION_LIMIT_BYTES = 256 * 1024 * 1024
_DECODER = msgspec.json.Decoder(ClaudeEvent)
_TURNS = ("user", "assistant")


def _read(path: Path, agent: str) -> Iterator[list[Item]]:
    if path.is_file() and path.stat().st_size > SESSION_LIMIT_BYTES:
        raise UsageError(
            f"`{path}` is larger than {SESSION_LIMIT_BYTES // 1024**2} MiB",
            hint="a session is held in memory; split the file between two sessions",
        )
    session = ClaudeSession()
    rows = list(values_of(path, _DECODER))
    for row in rows:
        if isinstance(row, Value):
            session.add(row.value)
    for row in rows:
        if isinstance(row, Value):
            yield made(row.line, partial(_items, session, row.value, row.line, agent))
        else:
            yield [row]


def _items(session: ClaudeSession, event: ClaudeEvent, line: int, agent: str) -> Iterator[Item]:
    if event.type not in _TURNS or event.message is None:
        raise Unusable(f"an event of type `{event.type}`, no turn")
    if event.uuid is None:
        raise Faulty("object missing required field `uuid`")
    if event.type == "user":
        raise Unusable("a turn of the user's or of a tool, part of what was sent")
    if event.isApiErrorMessage or event.message.model == SYNTHETIC:
        raise Unusable("a message of the program's, not of the model's")
    if not session.is_last_piece(event):
        raise Unusable("a part of an answer that goes on")
    following = session.following(event)
    if any(not is_request(after) for after in following) or session.asks_for_tools(event):
        raise Unusable("an answer on the way: tools ran after it")
    if any(after.text.startswith(INTERRUPTED) for after in following):
        raise Unusable("an answer that the user interrupted")
    yield interaction(_call(session, event, line, agent))


def _call(session: ClaudeSession, event: ClaudeEvent, line: int, agent: str) -> ModelCall:
    sent, answer = session.conversation(event)
    message = event.message
    assert message is not None
    return ModelCall(
        line=line,
        format=NAME,
        agent=agent,
        sent=sent,
        answer=answer,
        provider="anthropic",
        model=message.model,
        conversation=event.sessionId,
        finish_reason=message.stop_reason,
    )


def _against(row: JsonObject) -> str:
    if not isinstance(row.get("type"), str):
        return "no text `type`"
    if row["type"] in _TURNS:
        known = isinstance(row.get("message"), dict) and "uuid" in row
        return "" if known else "a turn without `message` and `uuid`"
    marks = ("uuid", "sessionId", "leafUuid", "messageId")
    return "" if any(name in row for name in marks) else "no `uuid` or `sessionId`"


FORMAT = Format(
    name=NAME,
    what="Claude Code session files (events with uuid and parentUuid)",
    misfit=by_row(_against),
    read=_read,
)
