"""A conversation as token ids and a mask, for training, evaluation and serving alike.

The prompt is the template's text up to where the assistant starts, tokenised as a server does; the
answer is tokenised separately and follows, as a model writes it. The text of a special token in a
message or in a tool's arguments and results (`<|im_start|>`) stays text (`model.special_tokens`).
`end_ids` are all tokens that end an answer, `end_of_turn` is the one that training learns.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.errors import DataRefused, UsageError
from journeyman.model.base import load_tokenizer
from journeyman.model.chat_template import read_template
from journeyman.model.special_tokens import SafeEncoder
from journeyman.records import BaseModel, Message, Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KNOWN_ENDS = frozenset(
    ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|end_of_text|>", "<|endoftext|>")
)
"""llama.cpp stops at tokens with these texts for every model (llama-vocab.cpp)."""

_TOKEN_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


class Chat:
    """A base model's tokenizer, chat template and ends of turn. Made by `load_chat`."""

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
        """A conversation rendered with the template; `tools` are those on offer."""
        return self._encoder.render(
            messages, add_generation_prompt=add_generation_prompt, tools=tools
        )

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids up to where the assistant starts to write, without a last answer."""
        prompt = messages[:-1] if messages and messages[-1].role == "assistant" else messages
        if self.holds_special(prompt, tools):
            return self._encoder.prompt_ids(prompt, tools)
        return self._ids(self.render(prompt, add_generation_prompt=True, tools=tools))

    def answer_ids(self, text: str) -> list[int]:
        """Ids of an answer's text without its end; special tokens in it stay text."""
        return self._ids(text, as_text=True)

    def encode(
        self,
        messages: Sequence[Message],
        *,
        trains_end: bool = True,
        tools: Sequence[Tool] = (),
    ) -> tuple[list[int], list[bool]]:
        """Token ids of prompt, answer and end of turn, and for each whether it counts in the loss.

        The answer counts, and its end if `trains_end`. The last message must be the assistant's;
        its tool calls belong to the answer. The end of a cut-off answer (`trains_end` False) is in
        the ids but not in the mask. Raises DataRefused if there is no answer.
        """
        if not messages or messages[-1].role != "assistant":
            raise DataRefused(
                "the conversation does not end with an assistant message",
                hint="run `journeyman prepare` again; all rows that it writes do",
            )
        prompt = self.prompt_ids(messages, tools)
        if messages[-1].tool_calls:
            answer, end = self._answer_with_calls(messages, tools)
        else:
            answer, end = self.answer_ids(messages[-1].content), self.end_of_turn
        mask = [False] * len(prompt) + [True] * len(answer) + [trains_end]
        return [*prompt, *answer, end], mask

    def _answer_with_calls(
        self, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> tuple[list[int], int]:
        """Ids of the last message with its calls, as the template writes it, and the end's id."""
        ids = self._encoder.ids_of_parts(self._encoder.answer_parts(messages, tools))
        ends = [at for at, number in enumerate(ids) if number in self.end_ids]
        return (ids[: ends[-1]], ids[ends[-1]]) if ends else (ids, self.end_of_turn)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        text = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def decode_whole(self, ids: Sequence[int]) -> str:
        """The text of ids with special tokens written out, for messages to the user."""
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def holds_special(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> bool:
        """Whether a message contains a special token as text, which servers read as the token."""
        return self._encoder.special_in(messages, tools) is not None

    def _ids(self, text: str, *, as_text: bool = False) -> list[int]:
        # The setting outlives a call, so every call makes it.
        self._tokenizer.backend_tokenizer.encode_special_tokens = as_text
        ids = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return [int(number) for number in ids]

    def _find_end_of_turn(self) -> int:
        """The token that the template writes after an answer, or the tokenizer's end of text."""
        answered = "the-answer-whose-end-is-looked-for"
        text = self.render([Message("user", "a question"), Message("assistant", answered)])
        for _, token in self._encoder.split(text.rpartition(answered)[2]):
            if token is not None:
                return token
        if self._tokenizer.eos_token_id is None:
            raise UsageError(
                "the base's chat template does not end answers with a special token, and its "
                "tokenizer has no end of text",
                hint="use an instruct model, or set `eos_token` in tokenizer_config.json",
            )
        return int(self._tokenizer.eos_token_id)


def load_chat(base: BaseModel) -> Chat:
    """The tokenizer, chat template and ends of turn of a base."""
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
    """The stop tokens of generation_config.json, or else of config.json."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if not path.is_file():
            continue
        ends = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        if ends is not None:
            return {int(one) for one in (ends if isinstance(ends, list) else [ends])}
    return set()
