"""Prompts that llama-server would misread, as the same token ids as in training.

The server reads a special token's text inside a message as that token; training reads it as text.
Such a conversation is sent as ids, made here with the GGUF's template and the server's tokenizer.
"""

from collections.abc import Callable, Sequence

from journeyman.errors import DataRefused
from journeyman.gguf.header import GgufHeader
from journeyman.model.gguf_tokenizer import role_tokens, special_tokens
from journeyman.model.special_tokens import SafeEncoder
from journeyman.records import Message, Tool


class SafePrompts:
    """Finds conversations that the server would misread, and makes their token ids.

    ids_of_text: the server's tokenizer, with special tokens neither added nor recognised.
    """

    def __init__(self, header: GgufHeader, ids_of_text: Callable[[str], list[int]]) -> None:
        self._path = header.path
        self._has_template = header.chat_template is not None
        self._encoder = SafeEncoder(
            header.chat_template or "", role_tokens(header), special_tokens(header), ids_of_text
        )

    def special_in(self, messages: Sequence[Message]) -> str | None:
        """A special token that a message contains as text, or None."""
        return self._encoder.special_in(messages)

    def ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """The prompt's ids. Raises DataRefused if template and content cannot be told apart."""
        if not self._has_template:
            token = self.special_in(messages)
            reason = (
                f"a message contains the special token `{token}`" if token else "tools are on offer"
            )
            raise DataRefused(
                f"{reason}, but `{self._path}` has no chat template to render the prompt",
                hint="convert a base with a chat template",
            )
        return self._encoder.prompt_ids(messages, tools)
