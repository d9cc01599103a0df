"""Claude Code's session files: one JSON object per event, linked by `parentUuid`.

One interaction for each answer that ends a user's request, with all earlier turns of its branch,
tool calls and results included. Sidechains (subagents) are branches of their own. An answer is
written as several events, one per block, with the same `message.id`, and tools that run in parallel
fork the tree; both are joined here.
Left out: meta events, thinking, interrupted answers, and what Claude Code sends but does not log
(its system prompt, reminders). A whole session is held in memory.
"""

from collections import defaultdict
from collections.abc import Iterator
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
from journeyman.collect.reading.json_rows import JsonObject, ParsedRow, parsed_rows
from journeyman.collect.reading.log_format import Format, match_rows, row_results
from journeyman.collect.reading.model_call import ModelCall, RowSource
from journeyman.collect.reading.row_result import BrokenRow, RowResult, UnusableRow
from journeyman.errors import UsageError
from journeyman.records import Message

NAME = "claude-code"
SESSION_LIMIT_BYTES = 256 * 1024 * 1024
SYNTHETIC = "<synthetic>"
INTERRUPTED = "[Request interrupted"
_TURNS = ("user", "assistant")


class ClaudeMessage(Struct, frozen=True):
    """The message of an event, as in the Messages API."""

    role: str
    content: Content
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None


class ClaudeEvent(Struct, frozen=True):
    """One line of a session file. The field names are the file's."""

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

    @property
    def is_turn(self) -> bool:
        """Whether it is a turn of the user, a tool or the model."""
        return self.type in _TURNS and self.message is not None

    @property
    def is_request(self) -> bool:
        """Whether it is a user turn with more than tool results."""
        return self.type == "user" and any(block.type != "tool_result" for block in self.blocks)

    @property
    def is_from_program(self) -> bool:
        """Whether Claude Code wrote the message, not the model."""
        return self.isApiErrorMessage or (
            self.message is not None and self.message.model == SYNTHETIC
        )

    @property
    def answer_id(self) -> str:
        """The id that all events of one answer share."""
        return (self.message.id if self.message else None) or f"event {self.uuid}"


_DECODER = msgspec.json.Decoder(ClaudeEvent)


def _read(path: Path, agent: str) -> Iterator[list[RowResult]]:
    if path.is_file() and path.stat().st_size > SESSION_LIMIT_BYTES:
        raise UsageError(
            f"`{path}` is larger than {SESSION_LIMIT_BYTES // 1024**2} MiB",
            hint="a session is held in memory; split the file between two sessions",
        )
    session = ClaudeSession()
    rows = list(parsed_rows(path, _DECODER))
    for row in rows:
        if isinstance(row, ParsedRow):
            session.add(row.value)
    for row in rows:
        if isinstance(row, ParsedRow):
            source = RowSource(row.line, NAME, agent)
            yield row_results(source, partial(_calls, session, row.value))
        else:
            yield [row]


class ClaudeSession:
    """The tree of a session's events. Add all events before asking for anything."""

    def __init__(self) -> None:
        self._events: dict[str, ClaudeEvent] = {}
        self._children: dict[str, list[ClaudeEvent]] = defaultdict(list)
        self._pieces: dict[str, list[ClaudeEvent]] = defaultdict(list)
        self._results: dict[str, ContentBlock] = {}

    def add(self, event: ClaudeEvent) -> None:
        """Add one event, in the file's order. The first of two with the same uuid counts."""
        if event.uuid is None or event.uuid in self._events:
            return
        self._events[event.uuid] = event
        if event.parentUuid is not None:
            self._children[event.parentUuid].append(event)
        if event.type == "assistant":
            self._pieces[event.answer_id].append(event)
        for block in event.blocks if event.type == "user" else ():
            if block.type == "tool_result" and block.tool_use_id is not None:
                self._results.setdefault(block.tool_use_id, block)

    def is_last_piece(self, event: ClaudeEvent) -> bool:
        """Whether an event is the last one of its answer."""
        return self._pieces[event.answer_id][-1:] == [event]

    def calls_tools(self, event: ClaudeEvent) -> bool:
        """Whether the answer of an event calls tools."""
        pieces = self._pieces[event.answer_id]
        return any(block.type == "tool_use" for piece in pieces for block in piece.blocks)

    def next_turns(self, event: ClaudeEvent) -> list[ClaudeEvent]:
        """The turns right after an event, with other events in between ignored."""
        turns: list[ClaudeEvent] = []
        waiting, seen = [event], set[str]()
        while waiting:
            for child in self._children.get(waiting.pop().uuid or "", ()):
                if child.uuid is None or child.uuid in seen:
                    continue
                seen.add(child.uuid)
                (turns if child.is_turn else waiting).append(child)
        return turns

    def conversation(self, last: ClaudeEvent) -> tuple[tuple[Message, ...], Message]:
        """The messages before the answer that `last` ends, and the answer."""
        turns: list[Message] = []
        for event in reversed(list(self._branch(last))):
            turns.extend(self._messages(event))
        return tuple(turns), self._answer(last)

    def _branch(self, last: ClaudeEvent) -> Iterator[ClaudeEvent]:
        """The turns before an answer, latest first, each answer of the model once."""
        seen, answers = {last.uuid}, {last.answer_id}
        event = self._parent(last)
        while event is not None and event.uuid not in seen:
            seen.add(event.uuid)
            if event.type == "user" and event.message is not None:
                yield event
            elif event.type == "assistant" and event.answer_id not in answers:
                answers.add(event.answer_id)
                yield event
            event = self._parent(event)
        if event is not None:
            raise BrokenRow("the chain of `parentUuid` is a circle")

    def _parent(self, event: ClaudeEvent) -> ClaudeEvent | None:
        return self._events.get(event.parentUuid or "")

    def _messages(self, event: ClaudeEvent) -> Iterator[Message]:
        if event.type == "user":
            # Tool results follow the answer that called the tools, see below.
            blocks = tuple(block for block in event.blocks if block.type != "tool_result")
            if blocks:
                yield from user_turns(blocks, "$.message")
            return
        if event.message is None or event.is_from_program:
            return
        answer = self._answer(event)
        yield answer
        for call in answer.tool_calls:
            if call.id not in self._results:
                raise UnusableRow("an earlier tool call has no result")
            yield result_of(self._results[call.id], "$.message")

    def _answer(self, event: ClaudeEvent) -> Message:
        pieces = self._pieces[event.answer_id]
        blocks = tuple(block for piece in pieces for block in piece.blocks)
        return answer_of(blocks, "$.message.content")


def _calls(session: ClaudeSession, event: ClaudeEvent) -> Iterator[ModelCall]:
    if event.type not in _TURNS or event.message is None:
        raise UnusableRow(f"an event of type `{event.type}`, not a turn")
    if event.uuid is None:
        raise BrokenRow("object missing required field `uuid`")
    if event.type == "user":
        raise UnusableRow("a turn of the user or of a tool, part of what was sent")
    if event.is_from_program:
        raise UnusableRow("a message from Claude Code, not from the model")
    if not session.is_last_piece(event):
        raise UnusableRow("part of an answer that continues")
    following = session.next_turns(event)
    if any(not turn.is_request for turn in following) or session.calls_tools(event):
        raise UnusableRow("an intermediate answer: tools ran after it")
    if any(turn.text.startswith(INTERRUPTED) for turn in following):
        raise UnusableRow("an answer that the user interrupted")
    sent, answer = session.conversation(event)
    yield ModelCall(
        sent=sent,
        answer=answer,
        provider="anthropic",
        model=event.message.model,
        conversation=event.sessionId,
        finish_reason=event.message.stop_reason,
    )


def _mismatch(row: JsonObject) -> str:
    if not isinstance(row.get("type"), str):
        return "no text `type`"
    if row["type"] in _TURNS:
        is_turn = isinstance(row.get("message"), dict) and "uuid" in row
        return "" if is_turn else "a turn without `message` and `uuid`"
    marks = ("uuid", "sessionId", "leafUuid", "messageId")
    return "" if any(name in row for name in marks) else "no `uuid` or `sessionId`"


FORMAT = Format(
    name=NAME,
    description="Claude Code session files (events with uuid and parentUuid)",
    match=match_rows(_mismatch),
    read=_read,
)
