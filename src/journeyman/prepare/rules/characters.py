"""Characters that should not be in a text: wrong decoding, control characters, special tokens.

Special tokens inside a message are trained as text, never as tokens (`journeyman.model.chat`).
Not covered: repairing a text.
"""

import re
from collections.abc import Iterable

from journeyman.prepare.rules.rule import RowRule
from journeyman.records import Interaction


def _as_cp1252(text: str) -> str:
    """The UTF-8 bytes of a text read as Windows-1252; undefined bytes such as \\x81 are kept."""
    return "".join(
        bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode("utf-8")
    )


# Non-ASCII characters that English and code really contain: quotes, dashes, arrows, Latin letters.
# Wrongly decoded, each becomes two or three characters that never occur together otherwise.
_COMMON = (
    "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u2022\u2192\u2190\u2265\u2264\u2260\u2713\u2714"
    "\u274c\u2705\u251c\u2514\u2502\u2500\u20ac\u2122\ufeff"
    "\u00e0\u00e1\u00e2\u00e3\u00e4\u00e5\u00e6\u00e7\u00e8\u00e9\u00ea\u00eb\u00ec\u00ed\u00ee"
    "\u00ef\u00f1\u00f2\u00f3\u00f4\u00f5\u00f6\u00f8\u00f9\u00fa\u00fb\u00fc\u00df\u00c4\u00d6"
    "\u00dc\u00c9\u00a9\u00ae\u00b0\u00b1\u00b7\u00bb\u00ab\u00a0"
)
_MOJIBAKE = re.compile("|".join(map(re.escape, sorted(map(_as_cp1252, _COMMON), key=len)[::-1])))
# A text of these bytes alone cannot match the next two expressions.
_PLAIN = bytes([*b"\t\n\x0c\r", *range(0x20, 0x7F)])
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x9f\ufffe\uffff]|\ufdd0|[\ud800-\udfff]")
# Colours that were copied from a terminal.
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BIDI = re.compile(r"[\u202a-\u202e\u2066-\u2069]")

SPECIAL_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "<s>",
    "</s>",
)
"""Of well-known model families; `<s>` and `</s>` are HTML too (`special_tokens_in`)."""

_HTML = frozenset({"<s>", "</s>"})


# Every special token contains one of these.
_TOKEN_HINTS = ("<|", "INST]", "SYS>>", "<s>", "</s>", "_of_turn>")


def special_tokens_in(text: str, tokens: Iterable[str] = SPECIAL_TOKENS) -> list[str]:
    """The special tokens that a text contains, in the given order.

    tokens: a tokenizer's added tokens, or the well-known ones. `<s>` and `</s>` inside a text are
    HTML (strike-through); they count only at its start or end.
    """
    return [token for token in tokens if token and token in text and not _is_html(token, text)]


def _is_html(token: str, text: str) -> bool:
    stripped = text.strip()
    at_an_end = stripped.startswith("<s>") or stripped.endswith("</s>")
    return token in _HTML and not at_an_end


def mojibake_in(text: str) -> list[str]:
    """The sequences that are UTF-8 decoded as Windows-1252, in order."""
    return [] if text.isascii() else _MOJIBAKE.findall(text)


def _texts(interaction: Interaction) -> tuple[str, str]:
    return interaction.task, interaction.answer or ""


def _is_plain(text: str) -> bool:
    return text.isascii() and not text.encode().translate(None, _PLAIN)


def _mojibake(interaction: Interaction) -> str | None:
    found = [one for text in _texts(interaction) for one in mojibake_in(text)]
    return f"{len(found)} times, first `{found[0]}`" if found else None


def _control(interaction: Interaction) -> str | None:
    texts = [text for text in _texts(interaction) if not _is_plain(text)]
    found = [one for text in texts for one in _CONTROL.findall(_ANSI.sub("", text))]
    if not found:
        return None
    return f"{len(found)} times, first U+{ord(found[0]):04X}"


def _ansi(interaction: Interaction) -> str | None:
    found = sum(len(_ANSI.findall(text)) for text in _texts(interaction) if "\x1b[" in text)
    return f"{found} times" if found else None


def _bidirectional(interaction: Interaction) -> str | None:
    texts = [text for text in _texts(interaction) if not text.isascii()]
    found = [one for text in texts for one in _BIDI.findall(text)]
    return f"{len(found)} times, first U+{ord(found[0]):04X}" if found else None


def _replacement(interaction: Interaction) -> str | None:
    found = sum(text.count("\ufffd") for text in _texts(interaction))
    return f"U+FFFD {found} times" if found else None


def _special(interaction: Interaction) -> str | None:
    texts = [x for x in _texts(interaction) if any(hint in x for hint in _TOKEN_HINTS)]
    found = {token: None for text in texts for token in special_tokens_in(text)}
    return ", ".join(f"`{token}`" for token in found) or None


RULES = (
    RowRule("mojibake", "warning", "UTF-8 text was decoded as Windows-1252", _mojibake),
    RowRule("control-character", "warning", "the text contains control characters", _control),
    RowRule("terminal-colour", "warning", "the text contains terminal escape sequences", _ansi),
    RowRule(
        "text-direction", "warning", "invisible marks change the reading order", _bidirectional
    ),
    RowRule("lost-character", "warning", "a character was lost in decoding", _replacement),
    RowRule("special-token", "warning", "the text contains a model's special tokens", _special),
)
