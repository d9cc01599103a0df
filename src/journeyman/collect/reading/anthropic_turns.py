"""Turns of Anthropic's Messages API, and the Messages that they become.

Covered: text, tool use and tool results. `thinking` is not kept: it is not part of the answer.
Not covered: pictures, documents and tools that the server runs.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from journeyman.collect.reading.row_result import BrokenRow, UnusableRow
from journeyman.records import Message, ToolCall

THINKING = frozenset({"thinking", "redacted_thinking"})


class ContentBlock(Struct, frozen=True):
    """One block of content. Its type decides which fields it has."""

    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, object] | None = None
    tool_use_id: str | None = None
    content: "str | tuple[ContentBlock, ...] | None" = None


Content = str | tuple[ContentBlock, ...]


class AnthropicTurn(Struct, frozen=True):
    """One turn of a request."""

    role: str
    content: Content


def system_of(content: Content | None) -> tuple[Message, ...]:
    """The system turn; empty if there is none."""
    text = "" if content is None else joined_text(content, "$.system", joint="\n")
    return (Message("system", text),) if text else ()


def messages_of(turns: Sequence[AnthropicTurn], where: str) -> tuple[Message, ...]:
    """The Messages of some turns. `where` is their JSON path, for error messages."""
    return tuple(
        message
        for place, turn in enumerate(turns)
        for message in _messages(turn, f"{where}[{place}]")
    )


def answer_of(content: Content, where: str) -> Message:
    """An assistant turn: its text and its tool calls."""
    if isinstance(content, str):
        return Message("assistant", content)
    texts = [block for block in content if block.type != "tool_use"]
    calls = tuple(_tool_call(block, where) for block in content if block.type == "tool_use")
    return Message("assistant", joined_text(texts, where, joint=""), tool_calls=calls)


def user_turns(content: Content, where: str) -> Iterator[Message]:
    """The Messages of a user turn: first tool results, then text."""
    if isinstance(content, str):
        yield Message("user", content)
        return
    results = [block for block in content if block.type == "tool_result"]
    for block in results:
        yield result_of(block, where)
    text = joined_text(
        [block for block in content if block.type != "tool_result"], where, joint="\n"
    )
    if text or not results:
        yield Message("user", text)


def result_of(block: ContentBlock, where: str) -> Message:
    """The Message of one tool result."""
    if block.tool_use_id is None:
        raise BrokenRow(f"object missing required field `tool_use_id` - at `{where}.content[...]`")
    text = "" if block.content is None else joined_text(block.content, where, joint="\n")
    return Message("tool", text, tool_call_id=block.tool_use_id)


def joined_text(content: str | Sequence[ContentBlock], where: str, *, joint: str) -> str:
    """The text of some blocks, without thinking."""
    if isinstance(content, str):
        return content
    return joint.join(_text(block, where) for block in content if block.type not in THINKING)


def _messages(turn: AnthropicTurn, where: str) -> Iterator[Message]:
    if turn.role == "assistant":
        yield answer_of(turn.content, f"{where}.content")
    elif turn.role == "user":
        yield from user_turns(turn.content, where)
    else:
        raise BrokenRow(f"unknown role `{turn.role}` - at `{where}.role`")


def _text(block: ContentBlock, where: str) -> str:
    if block.type != "text":
        raise UnusableRow(f"content of type `{block.type}` is not text")
    if block.text is None:
        raise BrokenRow(f"a block of type `text` has no text - at `{where}`")
    return block.text


def _tool_call(block: ContentBlock, where: str) -> ToolCall:
    if not block.name:
        raise BrokenRow(f"a block of type `tool_use` has no `name` - at `{where}`")
    arguments = msgspec.json.encode(block.input or {}).decode()
    return ToolCall(block.id or "", block.name, arguments)
