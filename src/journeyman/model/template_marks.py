"""Telling the template's own text in a rendered conversation from the texts of its messages.

A conversation is rendered twice, once unchanged and once with unique marks instead of its texts.
The text between marks is the template's; the text at a mark is the message's, even if it looks like
the template's.
Covered: templates that write a text unchanged, stripped of blanks, or as JSON. Others are detected,
because the two renderings then differ in more than the marks.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from journeyman.model.message_format import arguments_of, parameters_of
from journeyman.records import Message, Tool, ToolCall


class MarkedConversation(Struct, frozen=True):
    """Messages and tools with marks; `texts` holds the text that each mark replaces.

    `pattern` matches any mark.
    """

    messages: tuple[Message, ...]
    texts: Mapping[str, str]
    pattern: str
    tools: tuple[Tool, ...] = ()


class RenderingPart(Struct, frozen=True):
    """A part of a rendering, and whether it is the template's own text."""

    text: str
    is_template: bool


def texts_of(message: Message) -> list[str]:
    """Every text of a message: content, name, and the names and arguments of its calls.

    Arguments are parsed, because JSON can write any character as an escape (`\\u003c`).
    """
    calls = [
        text
        for call in message.tool_calls
        for text in (call.name, *_strings_in(arguments_of(call)))
    ]
    return [message.content, message.name or "", *calls]


def texts_of_tool(tool: Tool) -> list[str]:
    """Every text of a tool: name, description, and the strings in its schema."""
    return [tool.name, tool.description, *_strings_in(parameters_of(tool))]


def ids_in(message: Message) -> list[str]:
    """The ids of a message's calls, and of the call whose result it is."""
    return [message.tool_call_id or "", *(call.id for call in message.tool_calls)]


def _strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for entry in value.values():
            yield from _strings_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _strings_in(entry)


def mark_texts(
    messages: Sequence[Message], is_marked: Callable[[str], bool], tools: Sequence[Tool] = ()
) -> MarkedConversation:
    """Replace the texts of messages and tools that `is_marked` selects by marks.

    Blank texts and ids are kept: templates test whether a text is empty, and the form of an id.
    """
    marks = _Marks(messages, is_marked, tools)
    marked, offered = tuple(map(marks.of_message, messages)), tuple(map(marks.of_tool, tools))
    return MarkedConversation(marked, marks.texts, marks.pattern, offered)


def mark_tool_texts(messages: Sequence[Message]) -> MarkedConversation:
    """Replace only the texts of tool calls and of their results."""
    marks = _Marks(messages, lambda _: True)
    return MarkedConversation(tuple(map(marks.of_tools, messages)), marks.texts, marks.pattern)


class _Marks:
    """Makes marks that occur in no template, no token and no text of these messages."""

    def __init__(
        self,
        messages: Sequence[Message],
        is_marked: Callable[[str], bool],
        tools: Sequence[Tool] = (),
    ) -> None:
        texts = (text for message in messages for text in (*texts_of(message), *ids_in(message)))
        every = "\x00".join((*texts, *(text for tool in tools for text in texts_of_tool(tool))))
        digest = hashlib.sha256(every.encode("utf-8", "replace")).hexdigest()[:24]
        self._start = f"mark{digest}n"
        self._is_marked = is_marked
        self.pattern = f"({self._start}[0-9]+end)"
        self.texts: dict[str, str] = {}

    def of_text(self, text: str) -> str:
        if not text.strip() or not self._is_marked(text):
            return text
        mark = f"{self._start}{len(self.texts)}end"
        self.texts[mark] = text
        return mark

    def of_message(self, message: Message) -> Message:
        name = None if message.name is None else self.of_text(message.name)
        content = self.of_text(message.content)
        calls = tuple(map(self.of_call, message.tool_calls))
        return msgspec.structs.replace(message, content=content, name=name, tool_calls=calls)

    def of_tools(self, message: Message) -> Message:
        content = self.of_text(message.content) if message.role == "tool" else message.content
        calls = tuple(map(self.of_call, message.tool_calls))
        return msgspec.structs.replace(message, content=content, tool_calls=calls)

    def of_call(self, call: ToolCall) -> ToolCall:
        name = self.of_text(call.name)
        return ToolCall(call.id, name, json.dumps(self.of_value(arguments_of(call))))

    def of_tool(self, tool: Tool) -> Tool:
        name, description = self.of_text(tool.name), self.of_text(tool.description)
        return Tool(name, description, json.dumps(self.of_value(parameters_of(tool))))

    def of_value(self, value: object) -> object:
        if isinstance(value, str):
            return self.of_text(value)
        if isinstance(value, dict):
            return {self.of_text(key): self.of_value(entry) for key, entry in value.items()}
        return [self.of_value(entry) for entry in value] if isinstance(value, list) else value


def parts_of(rendering: str, marks: MarkedConversation, text: str) -> list[RenderingPart] | None:
    """Split `text` into parts by its rendering with marks; None if they do not match."""
    pieces = re.split(marks.pattern, rendering)
    parts: list[RenderingPart] = []
    at = 0
    for index, piece in enumerate(pieces):
        part: str | None = piece
        if piece in marks.texts:
            following = pieces[index + 1]
            forms = _written_forms(marks.texts[piece])
            part = next((form for form in forms if text.startswith(form + following, at)), None)
        if part is None or not text.startswith(part, at):
            return None
        parts.append(RenderingPart(part, piece not in marks.texts))
        at += len(part)
    return parts if at == len(text) else None


def _written_forms(text: str) -> list[str]:
    """The forms in which templates write a text."""
    as_json = [json.dumps(text, ensure_ascii=escaped)[1:-1] for escaped in (False, True)]
    return [text, *as_json, text.strip()]
