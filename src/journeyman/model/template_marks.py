"""Marks in place of what people, models and tools said, to tell it from a template's own text.

A conversation is rendered twice, once as it is and once with marks. What lies between the marks is
the template's; a text that stands where a mark stood was said, whatever it looks like.
Covered: templates that write a text as it is, without the blanks around it, or as JSON. Others are
found out, since the two renderings then differ in more than the marks.
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
    """Messages and tools with marks, and the text that each mark stands for.

    `pattern` matches any mark.
    """

    messages: tuple[Message, ...]
    said: Mapping[str, str]
    pattern: str
    tools: tuple[Tool, ...] = ()


class RenderingPart(Struct, frozen=True):
    """A piece of a rendering, and whether the template wrote it or somebody said it."""

    text: str
    is_template: bool


def texts_of(message: Message) -> list[str]:
    """Every text of a message that is not the template's: content, name, calls with all in them.

    Arguments are read first: JSON can spell any sign in another way (`\\u003c`).
    """
    called = [
        text
        for call in message.tool_calls
        for text in (call.name, *_strings_in(arguments_of(call)))
    ]
    return [message.content, message.name or "", *called]


def texts_of_tool(tool: Tool) -> list[str]:
    """Every text of a tool that is not the template's: name, description, and all in its schema."""
    return [tool.name, tool.description, *_strings_in(parameters_of(tool))]


def ids_in(message: Message) -> list[str]:
    """The ids of a message's calls and of the call that it answers."""
    return [message.tool_call_id or "", *(call.id for call in message.tool_calls)]


def _strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for its in value.values():
            yield from _strings_in(its)
    elif isinstance(value, list):
        for one in value:
            yield from _strings_in(one)


def marked(
    messages: Sequence[Message], is_marked: Callable[[str], bool], tools: Sequence[Tool] = ()
) -> MarkedConversation:
    """Marks for the texts that `is_marked` chooses among contents, names, arguments and results.

    What the `tools` on offer say is marked as well.

    Blank texts and ids stay: templates ask whether the first are empty, and how the second look.
    """
    marks = _Marks(messages, is_marked, tools)
    asked, offered = tuple(map(marks.of_message, messages)), tuple(map(marks.of_tool, tools))
    return MarkedConversation(asked, marks.said, marks.pattern, offered)


def marked_tools(messages: Sequence[Message]) -> MarkedConversation:
    """Marks for what tools were asked and what they gave back, and for nothing else."""
    marks = _Marks(messages, lambda _: True)
    return MarkedConversation(tuple(map(marks.of_tools, messages)), marks.said, marks.pattern)


class _Marks:
    """Gives marks that no template, no token and no text of these messages holds."""

    def __init__(
        self,
        messages: Sequence[Message],
        is_marked: Callable[[str], bool],
        tools: Sequence[Tool] = (),
    ) -> None:
        said = (text for message in messages for text in (*texts_of(message), *ids_in(message)))
        every = "\x00".join((*said, *(text for tool in tools for text in texts_of_tool(tool))))
        digest = hashlib.sha256(every.encode("utf-8", "replace")).hexdigest()[:24]
        self._start = f"mark{digest}n"
        self._is_marked = is_marked
        self.pattern = f"({self._start}[0-9]+end)"
        self.said: dict[str, str] = {}

    def of_text(self, text: str) -> str:
        if not text.strip() or not self._is_marked(text):
            return text
        mark = f"{self._start}{len(self.said)}end"
        self.said[mark] = text
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
            return {self.of_text(key): self.of_value(its) for key, its in value.items()}
        return [self.of_value(one) for one in value] if isinstance(value, list) else value


def parts_of(rendering: str, marks: MarkedConversation, text: str) -> list[RenderingPart] | None:
    """The true `text` in parts, by the rendering with marks; None where they do not fit."""
    pieces = re.split(marks.pattern, rendering)
    parts: list[RenderingPart] = []
    at = 0
    for place, piece in enumerate(pieces):
        found: str | None = piece
        if piece in marks.said:
            following = pieces[place + 1]
            forms = _forms(marks.said[piece])
            found = next((form for form in forms if text.startswith(form + following, at)), None)
        if found is None or not text.startswith(found, at):
            return None
        parts.append(RenderingPart(found, piece not in marks.said))
        at += len(found)
    return parts if at == len(text) else None


def _forms(said: str) -> list[str]:
    """The ways in which templates write a text."""
    as_json = [json.dumps(said, ensure_ascii=escaped)[1:-1] for escaped in (False, True)]
    return [said, *as_json, said.strip()]
