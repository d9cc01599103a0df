"""A conversation as token ids and a mask. Training, evaluation and serving share this one module.

The prompt's ids are those of the template's own text up to where the assistant starts, so that they
are what a server computes; the answer's ids follow, encoded by themselves, as a model writes them.
A special token's text inside a message (`<|im_start|>`) is text, never the token; so it is in a
tool's arguments and results (`model.safe_encoder`). `end_ids` are all tokens that end an answer,
`end_of_turn` the one that the template writes and training learns.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from journeyman.errors import DataRefused, UsageError
from journeyman.model.base import load_tokenizer
from journeyman.model.special_tokens import SafeEncoder
from journeyman.model.template import read_template, sha256_of_template
from journeyman.records import BaseModel, Message, Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KNOWN_ENDS = frozenset(
    ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|end_of_text|>", "<|endoftext|>")
)
"""At these llama.cpp stops by their text, whatever a model says (llama-vocab.cpp)."""

_TOKEN_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


class TokenisedConversation(Struct, frozen=True):
    """Token ids of a conversation, and for each whether the loss counts it (answer only)."""

    ids: list[int]
    trained: list[bool]


class Chat:
    """One base model's way of writing conversations. Made by `load_chat`."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", template: str, end_ids: frozenset[int]
    ) -> None:
        self._tokenizer = tokenizer
        tokens = {
            name: str(value) for name in _TOKEN_NAMES if (value := getattr(tokenizer, name, None))
        }
        special = {
            added.content: number
            for number, added in tokenizer.added_tokens_decoder.items()
            if added.special
        }
        self._encoder = SafeEncoder(template, tokens, special, self.answer_ids)
        self.template_sha256 = sha256_of_template(template)
        self.end_of_turn = self._find_end_of_turn()
        known = {number for token, number in special.items() if token in KNOWN_ENDS}
        self.end_ids = end_ids | known | {self.end_of_turn}

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Tool] = (),
    ) -> str:
        """The template's text of a conversation; `tools` are those on offer."""
        return self._encoder.render(
            messages, add_generation_prompt=add_generation_prompt, tools=tools
        )

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids up to where the assistant starts to write; a last answer is left out."""
        asked = messages[:-1] if messages and messages[-1].role == "assistant" else messages
        if self.holds_special(asked, tools):
            return self._encoder.prompt_ids(asked, tools)
        return self._ids(self.render(asked, add_generation_prompt=True, tools=tools))

    def answer_ids(self, text: str) -> list[int]:
        """Ids of an answer's own text, without its end; special tokens in it are text."""
        return self._ids(text, as_text=True)

    def encode(
        self,
        messages: Sequence[Message],
        *,
        trains_end: bool = True,
        tools: Sequence[Tool] = (),
    ) -> TokenisedConversation:
        """Prompt, answer and end of turn; the loss counts the answer, and its end if `trains_end`.

        The last message must be the assistant's; its tool calls belong to the answer. A cut-off
        answer (`trains_end` False) has its end in the ids and not in the mask. Raises DataRefused
        where there is no answer.
        """
        if not messages or messages[-1].role != "assistant":
            raise DataRefused(
                "the conversation does not end with an assistant message",
                hint="run `journeyman prepare` again; it writes only rows that do",
            )
        prompt = self.prompt_ids(messages, tools)
        if messages[-1].tool_calls:
            answer, end = self._answer_with_calls(messages, tools)
        else:
            answer, end = self.answer_ids(messages[-1].content), self.end_of_turn
        trained = [False] * len(prompt) + [True] * len(answer) + [trains_end]
        return TokenisedConversation([*prompt, *answer, end], trained)

    def _answer_with_calls(
        self, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> tuple[list[int], int]:
        """Ids of the last message as the template writes it with its calls, and the end's id."""
        ids = self._encoder.ids_of_parts(self._encoder.answer_parts(messages, tools))
        ends = [at for at, number in enumerate(ids) if number in self.end_ids]
        return (ids[: ends[-1]], ids[ends[-1]]) if ends else (ids, self.end_of_turn)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, with special tokens left out."""
        found = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(found, str)
        return found

    def decode_whole(self, ids: Sequence[int]) -> str:
        """The text of ids with special tokens written out, for messages to a person."""
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def holds_special(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> bool:
        """Whether a message holds the text of a special token, which servers read as the token."""
        return self._encoder.special_in(messages, tools) is not None

    def _ids(self, text: str, *, as_text: bool = False) -> list[int]:
        # The tokenizer's switch outlives a call, so every call sets it.
        self._tokenizer.backend_tokenizer.encode_special_tokens = as_text
        found = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return [int(number) for number in found]

    def _find_end_of_turn(self) -> int:
        """The token that the template writes after an answer, else the tokenizer's end of text."""
        answered = "the-answer-whose-end-is-looked-for"
        text = self.render([Message("user", "a question"), Message("assistant", answered)])
        for _, token in self._encoder.split(text.rpartition(answered)[2]):
            if token is not None:
                return token
        if self._tokenizer.eos_token_id is None:
            raise UsageError(
                "the base's chat template ends no answer with a special token, and its tokenizer "
                "has no end of text",
                hint="use an instruct model, or give tokenizer_config.json an `eos_token`",
            )
        return int(self._tokenizer.eos_token_id)


def load_chat(base: BaseModel) -> Chat:
    """The base's tokenizer, template and ends of turn together."""
    template = read_template(base.folder)
    assert template is not None  # find_base refuses a base without one
    tokenizer = load_tokenizer(base)
    if not getattr(tokenizer, "backend_tokenizer", None):
        raise UsageError(
            f"the base `{base.name}` has no fast tokenizer (`tokenizer.json`)",
            hint="save it once with transformers' `AutoTokenizer(...).save_pretrained(folder)`",
        )
    ends = _configured_ends(base.folder)
    if tokenizer.eos_token_id is not None:
        ends |= {int(tokenizer.eos_token_id)}
    return Chat(tokenizer, template, frozenset(ends))


def _configured_ends(folder: Path) -> set[int]:
    """The stop tokens that generation_config.json names, else config.json's."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if not path.is_file():
            continue
        found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        if found is not None:
            return {int(one) for one in (found if isinstance(found, list) else [found])}
    return set()
