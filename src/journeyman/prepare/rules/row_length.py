"""Rows that are too long for training, counted in tokens if a tokenizer is at hand.

Only rows that could be too long are counted: long texts have more than 1.5 bytes a token. Without a
tokenizer the number is an estimate, and the finding says so.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from journeyman.model.known_vocabularies import Vocabulary, family_of
from journeyman.prepare.chat_template import Renderer
from journeyman.records import Message, Tool

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LEAST_BYTES = 1.5
TYPICAL_BYTES = 3.5
"""Bytes a token: 3.9 for English, 3.2 for Python in Qwen2.5's vocabulary."""


class RowLengthCheck:
    """Finds rows above a limit in tokens. `counts`: tokens are counted, not estimated."""

    def __init__(
        self, limit: int, renderer: Renderer, base: str, vocabularies: Sequence[Vocabulary]
    ) -> None:
        self._limit = limit
        self._renderer = renderer
        self._tokenizer: Tokenizer | None = None
        family = family_of(base)
        self._vocabulary = next((one for one in vocabularies if one.family == family), None)
        self.counts = bool(renderer.tokenizer) or self._vocabulary is not None

    def find(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str | None:
        """How long a row is if it is too long, else None."""
        texts = [message.content for message in messages]
        texts += [f"{tool.name}{tool.description}{tool.parameters}" for tool in tools]
        size_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
        if size_bytes < self._limit * LEAST_BYTES:
            return None
        if not self.counts:
            estimate = round(size_bytes / TYPICAL_BYTES)
            over = estimate > self._limit
            return f"about {estimate} tokens, by {TYPICAL_BYTES} bytes each" if over else None
        count = self._count(self._renderer.text(messages, tools))
        return f"{count} tokens" if count > self._limit else None

    def _count(self, text: str) -> int:
        if self._renderer.tokenizer:
            if self._tokenizer is None:
                from tokenizers import Tokenizer

                self._tokenizer = Tokenizer.from_str(self._renderer.tokenizer)
            return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
        assert self._vocabulary is not None
        return self._vocabulary.counts([text])[0]
