"""Which rows have the same prompt: those must never be in two splits."""

import re
import unicodedata
from collections.abc import Sequence

from journeyman.files import content_id
from journeyman.records import Message

_BETWEEN_WORDS = re.compile(r"[\W_]+")
_ASCII_WORDS = {code: " " for code in range(128) if not chr(code).isalnum()}


def group_of(messages: Sequence[Message]) -> str:
    """An id that is equal for conversations whose `prompt_turns` are equal."""
    return content_id(*prompt_turns(messages))


def prompt_turns(messages: Sequence[Message]) -> list[str]:
    """The normalised turns of a prompt.

    messages: the conversation, with or without its answer. The system turn does not count: the
    same task for another role is the same task.
    """
    answered = bool(messages) and messages[-1].role == "assistant"
    turns = messages[: -1 if answered else None]
    return [normalised(turn.content) for turn in turns if turn.role != "system"]


def normalised(text: str) -> str:
    """A text without case, width, punctuation and spacing (NFKC, then casefold).

    A text of punctuation only keeps it: `+` and `-` are not the same prompt.
    """
    if text.isascii():
        # The same result for ASCII in a tenth of the time.
        lower = text.lower()
        return " ".join(lower.translate(_ASCII_WORDS).split()) or lower.strip()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _BETWEEN_WORDS.sub(" ", folded).strip() or folded.strip()
