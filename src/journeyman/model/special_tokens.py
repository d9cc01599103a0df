"""Token ids of a conversation, with special tokens only where the template wrote them.

If a message contains the text of a special token (`<|im_start|>`), it stays text. Training uses
this with the base's tokenizer, serving with the server's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from journeyman.errors import DataRefused
from journeyman.model.chat_template import render
from journeyman.model.template_marks import (
    RenderingPart,
    ids_in,
    mark_texts,
    parts_of,
    texts_of,
    texts_of_tool,
)
from journeyman.records import Message, Tool


class SafeEncoder:
    """A template with its tokens, and `ids_of_text`, which tokenises any text as plain text.

    tokens: those that the template may use (`bos_token`, …). special: the id of each special token.
    """

    def __init__(
        self,
        template: str,
        tokens: Mapping[str, str],
        special: Mapping[str, int],
        ids_of_text: Callable[[str], list[int]],
    ) -> None:
        self._template = template
        self._tokens = dict(tokens)
        self._special = special
        self._ids_of_text = ids_of_text

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Tool] = (),
    ) -> str:
        """A conversation rendered with the template."""
        return render(self._template, messages, add_generation_prompt, tools, **self._tokens)

    def special_in(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str | None:
        """A special token whose text a message or a tool on offer contains, or None."""
        texts = (text for message in messages for text in (*texts_of(message), *ids_in(message)))
        for text in (*texts, *(text for tool in tools for text in texts_of_tool(tool))):
            for token in self._special:
                if token in text:
                    return token
        return None

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids up to where the assistant starts to write.

        Raises DataRefused if the template rewrites messages, so that the two cannot be told apart.
        """
        return self.ids_of_parts(self.prompt_parts(messages, tools=tools))

    def prompt_parts(
        self,
        messages: Sequence[Message],
        is_marked: Callable[[str], bool] | None = None,
        tools: Sequence[Tool] = (),
    ) -> list[RenderingPart]:
        """The prompt in parts. is_marked: the texts to tell apart, by default special ones."""
        marks = mark_texts(messages, is_marked or self._holds_special, tools)
        rendering = self.render(marks.messages, add_generation_prompt=True, tools=marks.tools)
        text = self.render(messages, add_generation_prompt=True, tools=tools)
        return self._checked(parts_of(rendering, marks, text), messages, tools)

    def answer_parts(
        self, messages: Sequence[Message], tools: Sequence[Tool] = ()
    ) -> list[RenderingPart]:
        """The template's text of the last message, the assistant's, in parts."""
        marks = mark_texts(messages, self._holds_special, tools)
        rendering = self._answer(marks.messages, marks.tools)
        parts = parts_of(rendering, marks, self._answer(messages, tools))
        return self._checked(parts, messages, tools)

    def ids_of_parts(self, parts: Sequence[RenderingPart]) -> list[int]:
        """Ids of these parts, with special tokens recognised only in the template's parts."""
        ids: list[int] = []
        plain = ""
        for part in parts:
            for piece, token in self.split(part.text) if part.is_template else [(part.text, None)]:
                plain += piece
                if token is not None:
                    ids += [*self._plain_ids(plain), token]
                    plain = ""
        return ids + self._plain_ids(plain)

    def split(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Split the template's text at special tokens: plain text and the next token's id."""
        while True:
            first = min(
                (
                    (at, -len(token), token)
                    for token in self._special
                    if (at := text.find(token)) >= 0
                ),
                default=None,
            )
            if first is None:
                yield text, None
                return
            at, _, token = first
            yield text[:at], self._special[token]
            text = text[at + len(token) :]

    def _plain_ids(self, text: str) -> list[int]:
        return self._ids_of_text(text) if text else []

    def _holds_special(self, text: str) -> bool:
        return any(token in text for token in self._special)

    def _answer(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        start = self.render(messages[:-1], add_generation_prompt=True, tools=tools)
        whole = self.render(messages, tools=tools)
        if not whole.startswith(start):
            raise DataRefused(
                "the chat template starts an answer differently from the prompt for one",
                hint="remove that row, or use a base with another chat template",
            )
        return whole[len(start) :]

    def _checked(
        self, parts: list[RenderingPart] | None, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> list[RenderingPart]:
        in_ids = any(self._holds_special(text) for one in messages for text in ids_in(one))
        if parts is None or in_ids:
            raise DataRefused(
                f"a message contains the special token `{self.special_in(messages, tools)}`, but "
                "this chat template rewrites messages, so it cannot be told from a real token",
                hint="remove that row, or use a base with a simpler chat template",
            )
        return parts
