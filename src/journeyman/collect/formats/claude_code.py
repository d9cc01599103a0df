"""Claude Code's session files: one JSON object an event, linked by `parentUuid`.

One interaction for each answer that ends a user's request, with all turns before it on its branch
as context, tool calls and their results included. Sidechains (subagents) are branches of their own.
Left out: meta events, thinking, answers that were interrupted, and what the program sends but does
not log (its system prompt, reminders). A whole session is held in memory.

The tree of one Claude Code session: which turns stand before an answer, and what follows it.

An answer of the model's is written as several events, one a block, with the same `message.id`;
tools that ran side by side fork the tree. Both are put together again here.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.collect.reading.anthropic_turns import (
    Content,
    ContentBlock,
    answer_of,
    result_of,
    user_turns,
)
from journeyman.collect.reading.calls import ModelCall, interaction
from journeyman.collect.reading.format import (
    Faulty,
    Format,
    Item,
    JsonObject,
    Unusable,
    by_row,
    made,
)
from journeyman.collect.reading.rows import Value, values_of
from journeyman.errors import UsageError
from journeyman.records import Message

NAME = "claude-code"

SESSION_LIMIT_BYTES = 256 * 1024 * 1024


class ClaudeMessage(Struct, frozen=True):
    """The message of an event, as the Messages interface has it."""

    role: str
    content: Content
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None


class ClaudeEvent(Struct, frozen=True):
    """One line of a session file. The names are the file's."""

    type: str
    uuid: str | None = None
    parentUuid: str | None = None  # noqa: N815
    sessionId: str | None = None  # noqa: N815
    message: ClaudeMessage | None = None
    isApiErrorMessage: bool = False  # noqa: N815

    @property
    def blocks(self) -> tuple[ContentBlock, ...]:
        """The content as blocks."""
        content = self.message.content if self.message else ()
        return (ContentBlock("text", text=content),) if isinstance(content, str) else content

    @property
    def text(self) -> str:
        """The text of its blocks."""
        return "".join(block.text or "" for block in self.blocks if block.type == "text")


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


class ClaudeSession:
    """Events by their names. Add all before asking."""

    def __init__(self) -> None:
        self._events: dict[str, ClaudeEvent] = {}
        self._children: dict[str, list[ClaudeEvent]] = defaultdict(list)
        self._pieces: dict[str, list[ClaudeEvent]] = defaultdict(list)
        self._results: dict[str, ContentBlock] = {}

    def add(self, event: ClaudeEvent) -> None:
        """One event, in the file's order. The first of two with one name counts."""
        if event.uuid is None or event.uuid in self._events:
            return
        self._events[event.uuid] = event
        if event.parentUuid is not None:
            self._children[event.parentUuid].append(event)
        if event.type == "assistant":
            self._pieces[_answer_name(event)].append(event)
        for block in event.blocks if event.type == "user" else ():
            if block.type == "tool_result" and block.tool_use_id is not None:
                self._results.setdefault(block.tool_use_id, block)

    def is_last_piece(self, event: ClaudeEvent) -> bool:
        """Whether an event is the last one of its answer."""
        return self._pieces[_answer_name(event)][-1:] == [event]

    def asks_for_tools(self, event: ClaudeEvent) -> bool:
        """Whether the answer that an event ends asks for tools."""
        pieces = self._pieces[_answer_name(event)]
        return any(block.type == "tool_use" for piece in pieces for block in piece.blocks)

    def following(self, event: ClaudeEvent) -> list[ClaudeEvent]:
        """The turns right after an event; events that are no turns are passed over."""
        found: list[ClaudeEvent] = []
        waiting, seen = [event], set[str]()
        while waiting:
            for child in self._children.get(waiting.pop().uuid or "", ()):
                if child.uuid is None or child.uuid in seen:
                    continue
                seen.add(child.uuid)
                is_turn = child.type in ("user", "assistant") and child.message is not None
                (found if is_turn else waiting).append(child)
        return found

    def conversation(self, last: ClaudeEvent) -> tuple[tuple[Message, ...], Message]:
        """What was sent before the answer that `last` ends, and the answer."""
        turns: list[Message] = []
        for event in reversed(list(self._branch(last))):
            turns.extend(self._turns(event))
        answer = self._answer(last)
        return tuple(turns), answer

    def _branch(self, last: ClaudeEvent) -> Iterator[ClaudeEvent]:
        """The turns before an answer, latest first, each answer of the model's once."""
        seen, answers = {last.uuid}, {_answer_name(last)}
        event = self._parent(last)
        while event is not None and event.uuid not in seen:
            seen.add(event.uuid)
            if event.type == "user" and event.message is not None:
                yield event
            elif event.type == "assistant" and _answer_name(event) not in answers:
                answers.add(_answer_name(event))
                yield event
            event = self._parent(event)
        if event is not None:
            raise Faulty("the chain of `parentUuid` leads back to itself")

    def _parent(self, event: ClaudeEvent) -> ClaudeEvent | None:
        return self._events.get(event.parentUuid or "")

    def _turns(self, event: ClaudeEvent) -> Iterator[Message]:
        if event.type == "user":
            # Results stand right behind the answer that asked for them, see below.
            kept = tuple(block for block in event.blocks if block.type != "tool_result")
            if kept:
                yield from user_turns(kept, "$.message")
            return
        if event.message is None or event.isApiErrorMessage or event.message.model == SYNTHETIC:
            return
        answer = self._answer(event)
        yield answer
        for call in answer.tool_calls:
            if call.id not in self._results:
                raise Unusable("a tool that was asked for before it gave nothing back")
            yield result_of(self._results[call.id], "$.message")

    def _answer(self, event: ClaudeEvent) -> Message:
        blocks: Sequence[ContentBlock] = [
            block for piece in self._pieces[_answer_name(event)] for block in piece.blocks
        ]
        return answer_of(tuple(blocks), "$.message.content")


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

SYNTHETIC = "<synthetic>"

INTERRUPTED = "[Request interrupted"


def is_request(event: ClaudeEvent) -> bool:
    """Whether the user said something: a turn that does more than give results of tools."""
    return event.type == "user" and any(block.type != "tool_result" for block in event.blocks)


def _answer_name(event: ClaudeEvent) -> str:
    return (event.message.id if event.message else None) or f"event {event.uuid}"
