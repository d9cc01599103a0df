"""Turns as Anthropic's Messages interface writes them, and the records they stand for.

Covered: text, tool use and tool results. `thinking` is left away: it is no part of the answer.
Not covered: pictures, documents and tools that the server itself runs.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from journeyman.collect.reading.format import Faulty, Unusable
from journeyman.records import Message, ToolCall

THINKING = frozenset({"thinking", "redacted_thinking"})


class ContentBlock(Struct, frozen=True):
    """One block of content; which fields it has depends on its type."""

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
    """The system turn, where there is one."""
    text = "" if content is None else plain(content, "$.system", joint="\n")
    return (Message("system", text),) if text else ()


def messages_of(turns: Sequence[AnthropicTurn], where: str) -> tuple[Message, ...]:
    """The records of some turns. `where` is their JSON path, for the words of a fault."""
    return tuple(
        message
        for place, turn in enumerate(turns)
        for message in _messages(turn, f"{where}[{place}]")
    )


def answer_of(content: Content, where: str) -> Message:
    """An assistant's turn: its text, and the tools it asks for."""
    if isinstance(content, str):
        return Message("assistant", content)
    said = [block for block in content if block.type != "tool_use"]
    calls = tuple(_call(block, where) for block in content if block.type == "tool_use")
    return Message("assistant", plain(said, where, joint=""), tool_calls=calls)


def user_turns(content: Content, where: str) -> Iterator[Message]:
    """What a user's turn holds: first what tools gave back, then text."""
    if isinstance(content, str):
        yield Message("user", content)
        return
    results = [block for block in content if block.type == "tool_result"]
    for block in results:
        yield result_of(block, where)
    text = plain([block for block in content if block.type != "tool_result"], where, joint="\n")
    if text or not results:
        yield Message("user", text)


def result_of(block: ContentBlock, where: str) -> Message:
    """What one tool gave back."""
    if block.tool_use_id is None:
        raise Faulty(f"object missing required field `tool_use_id` - at `{where}.content[...]`")
    text = "" if block.content is None else plain(block.content, where, joint="\n")
    return Message("tool", text, tool_call_id=block.tool_use_id)


def plain(content: str | Sequence[ContentBlock], where: str, *, joint: str) -> str:
    """The text of some blocks, thinking left away."""
    if isinstance(content, str):
        return content
    return joint.join(_text(block, where) for block in content if block.type not in THINKING)


def _messages(turn: AnthropicTurn, where: str) -> Iterator[Message]:
    if turn.role == "assistant":
        yield answer_of(turn.content, f"{where}.content")
    elif turn.role == "user":
        yield from user_turns(turn.content, where)
    else:
        raise Faulty(f"unknown role `{turn.role}` - at `{where}.role`")


def _text(block: ContentBlock, where: str) -> str:
    if block.type != "text":
        raise Unusable(f"content of type `{block.type}` is no text")
    if block.text is None:
        raise Faulty(f"a block of type `text` has no text - at `{where}`")
    return block.text


def _call(block: ContentBlock, where: str) -> ToolCall:
    if not block.name:
        raise Faulty(f"a block of type `tool_use` has no `name` - at `{where}`")
    arguments = msgspec.json.encode(block.input or {}).decode()
    return ToolCall(block.id or "", block.name, arguments)
