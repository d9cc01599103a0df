"""Refusals, questions instead of answers, code with parts left out, and set openers.

Heuristics for English: nothing here is more than a warning, and every hit needs a look.
"""

import re

from journeyman.data.markdown import without_thinking
from journeyman.prepare.rules.rule import RowRule
from journeyman.records import Interaction

# Models refuse in the first words; later on the same words are about the subject.
_REFUSAL = re.compile(
    r"\A\W*(?:(?:I(?:'|\u2019)m|I am) (?:very |really |so )?sorry\b[^\n]{0,80}?|unfortunately,? "
    r"|(?:I )?apologi[sz]e\b[^\n]{0,80}?|as an? (?:AI|large language|language model)\b[^\n]{0,80}?"
    r"|sorry,? (?:but )?)?"
    r"\b(?:I(?:'|\u2019)m not able to|I(?: am|(?:'|\u2019)m) unable to|I can(?:no|'|\u2019)t"
    r"|I can not|I won(?:'|\u2019)t|I will not|I must decline|I(?: have|(?:'|\u2019)ve) to decline"
    r")\b"
    r" (?:help|assist|fulfil|provide|comply|do that|create|write|generate|continue|answer|discuss"
    r"|engage|support|be able|complete|access|be involved|in good conscience|\w+ (?:this|that) "
    r"(?:request|task))",
    re.IGNORECASE,
)
_QUESTION_BACK = re.compile(
    r"\b(?:could|can|would|will) you (?:please |kindly |also )*(?:provide|share|clarify|tell"
    r"|specify|confirm|let me know|give|elaborate|describe|explain)\b[^.!?\n]*[?:]"
    r"|\bplease (?:provide|share|clarify|specify|tell me)\b[^.!\n]{0,80}"
    r"\b(?:details|information|context|code|requirements)\b"
    r"|\bis that correct\?|\bwithout (?:further|more|additional) (?:context|clarification)\b",
    re.IGNORECASE,
)
_LEFT_OPEN = re.compile(
    r"(?:\#|//|/\*|<!--)[ \t]*(?:(?:TODO|FIXME|XXX)\b|\.{3,}[ \t]*(?:$|rest|existing|remaining)"
    r"|(?:add|write|put|insert|your|implement)\b[^\n]{0,60}\bhere\b|implement[ \t]"
    r"|[^\n]{0,40}\b(?:code|logic|implementation)(?: goes)? here\b)",
    re.IGNORECASE | re.MULTILINE,
)
_OPENER = re.compile(
    r"\A\s*(?:sure|certainly|of course|absolutely|great|understood|okay|ok|no problem|thank you"
    r"|thanks|hello|hi|greetings|happy to help|I(?:'|\u2019)d be happy|I(?:'|\u2019)m happy)\b",
    re.IGNORECASE,
)


def _refusal(interaction: Interaction) -> str | None:
    found = _REFUSAL.match(_without_thinking(interaction))
    return f"`{_clipped(found[0])}`" if found else None


def _question_back(interaction: Interaction) -> str | None:
    """Only in answers without code: after code, a question is politeness."""
    text = _without_thinking(interaction)
    found = None if "```" in text else _QUESTION_BACK.search(text)
    return f"`{_clipped(found[0])}`" if found else None


def _left_open(interaction: Interaction) -> str | None:
    found = _LEFT_OPEN.search(_without_thinking(interaction))
    return f"`{_clipped(found[0])}`" if found else None


def _opener(interaction: Interaction) -> str | None:
    found = _OPENER.match(_without_thinking(interaction))
    return f"`{found[0].strip().casefold()}`" if found else None


def _without_thinking(interaction: Interaction) -> str:
    return without_thinking(interaction.answer or "")


def _clipped(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 80 else f"{one_line[:79]}…"


RULES = (
    RowRule("refusal", "warning", "the model refuses the task", _refusal),
    RowRule("question-back", "warning", "the model asks back instead of answering", _question_back),
    RowRule("left-open", "warning", "the code leaves a part for the reader to write", _left_open),
    # A habit that training would copy: it matters how many rows have it, not which.
    RowRule("opener", "note", "the answer starts with a set phrase", _opener),
)
