"""Which rows ask the same: those must never stand in two splits."""

import re
import unicodedata
from collections.abc import Sequence

from journeyman.files import content_id
from journeyman.records import Message

_BETWEEN_WORDS = re.compile(r"[\W_]+")
_ASCII_WORDS = {code: " " for code in range(128) if not chr(code).isalnum()}


def group_of(messages: Sequence[Message]) -> str:
    """An id that is equal for conversations with the same prompt, but for how it is written.

    messages: the conversation, with or without its answer. The system turn does not count: the
    same task under another role is the same task.
    """
    answered = bool(messages) and messages[-1].role == "assistant"
    turns = messages[: -1 if answered else None]
    return content_id(*(normalised(turn.content) for turn in turns if turn.role != "system"))


def normalised(text: str) -> str:
    """A text without its case, widths, punctuation and spacing (NFKC, then casefold).

    A text of punctuation alone keeps it: `+` and `-` are not the same prompt.
    """
    if text.isascii():
        # The same for ASCII, in a tenth of the time.
        lower = text.lower()
        return " ".join(lower.translate(_ASCII_WORDS).split()) or lower.strip()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _BETWEEN_WORDS.sub(" ", folded).strip() or folded.strip()


def joined(keys: Sequence[Sequence[str]]) -> list[str]:
    """For each row one group id, equal for rows that a chain of shared keys connects.

    keys: for each row what it must not be parted by: its prompt, its conversation. The id is the
    least key of the whole chain, so that the order of the rows does not count. (Union-find.)
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for row in keys:
        for key in row[1:]:
            low, high = sorted((root(row[0]), root(key)))
            parent[high] = low
    return [root(row[0]) for row in keys]
