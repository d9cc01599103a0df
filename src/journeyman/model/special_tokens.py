"""Ids of a conversation in which special tokens count only where the template wrote them.

A text inside a message that looks like a special token (`<|im_start|>`) is text. Whoever has the
template, the special tokens and a tokenizer for plain text can encode so: training with a
tokenizer, serving with the server's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from journeyman.errors import DataRefused
from journeyman.model.template import render
from journeyman.model.template_marks import (
    RenderingPart,
    ids_in,
    marked,
    parts_of,
    texts_of,
    texts_of_tool,
)
from journeyman.records import Message, Tool


class SafeEncoder:
    """A template with its tokens, and `ids_of_text`, which takes any text as plain text.

    tokens: what the template may name (`bos_token`, …). special: the id of each special token.
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
        """The template's text of a conversation."""
        return render(self._template, messages, add_generation_prompt, tools, **self._tokens)

    def special_in(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str | None:
        """A special token whose text stands in a message or in a tool on offer, or None."""
        said = (text for message in messages for text in (*texts_of(message), *ids_in(message)))
        for text in (*said, *(text for tool in tools for text in texts_of_tool(tool))):
            found = next((token for token in self._special if token in text), None)
            if found is not None:
                return found
        return None

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids up to where the assistant starts to write.

        Raises DataRefused where the template rewrites texts, so that they cannot be told apart.
        """
        return self.ids_of_parts(self.prompt_parts(messages, tools=tools))

    def prompt_parts(
        self,
        messages: Sequence[Message],
        is_marked: Callable[[str], bool] | None = None,
        tools: Sequence[Tool] = (),
    ) -> list[RenderingPart]:
        """The prompt's text in parts. is_marked: the texts to tell apart, else the special ones."""
        marks = marked(messages, is_marked or self._holds_special, tools)
        rendering = self.render(marks.messages, add_generation_prompt=True, tools=marks.tools)
        text = self.render(messages, add_generation_prompt=True, tools=tools)
        return self._checked(parts_of(rendering, marks, text), messages, tools)

    def answer_parts(
        self, messages: Sequence[Message], tools: Sequence[Tool] = ()
    ) -> list[RenderingPart]:
        """What the template writes for the last message, an assistant's, after its prompt."""
        marks = marked(messages, self._holds_special, tools)
        rendering = self._answer(marks.messages, marks.tools)
        parts = parts_of(rendering, marks, self._answer(messages, tools))
        return self._checked(parts, messages, tools)

    def ids_of_parts(self, parts: Sequence[RenderingPart]) -> list[int]:
        """Ids where special tokens count in the template's parts only."""
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
        """Plain runs of the template's text, each with the special token that ends it, if any."""
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
                "the chat template does not begin an answer as it prompts for one",
                hint="take that row out, or use a base with another chat template",
            )
        return whole[len(start) :]

    def _checked(
        self, parts: list[RenderingPart] | None, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> list[RenderingPart]:
        in_ids = any(self._holds_special(text) for one in messages for text in ids_in(one))
        if parts is None or in_ids:
            raise DataRefused(
                f"a message holds the special token `{self.special_in(messages, tools)}`, and this "
                "chat template rewrites messages, so that the two cannot be told apart",
                hint="take that row out, or use a base with a plain chat template",
            )
        return parts
