"""Every rule of the doctor: its id, how bad it is, and what it means; and those that look at a row.

Three kinds: rules that look at one row alone (`LOOKS`), rules that compare a row with the prompt it
is trained with, and rules that only the whole set decides. What follows is the policy's.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from journeyman.data import (
    answers,
    characters,
    code_blocks,
    facts,
    licences,
    personal,
    secrets,
    wording,
)
from journeyman.data.facts import RowRule
from journeyman.prepare.records import Level

REPEATED = "repeated"
"""The rule for a line that has an earlier line's id and says the same."""

CUT_OFF, SECRET = "cut-off", "secret"
PROMPT_DIFFERS, BENCHMARK, OVER_LONG = "prompt-differs", "benchmark", "over-long"
SAME_PROMPT, NEAR_PROMPT = "same-prompt", "near-prompt"
SAME_ANSWER, CONTRADICTION, REPEATED_ANSWER = "duplicate", "contradiction", "repeated-answer"


class RuleDescription(Struct, frozen=True):
    """A rule as the report shows it."""

    id: str
    level: Level
    meaning: str


_NOTES = (*wording.NOTES, *code_blocks.NOTES)
_LICENCES = licences.RULES

LOOKS: tuple[RowRule, ...] = (
    *facts.RULES,
    *secrets.RULES,
    *wording.RULES,
    *code_blocks.RULES,
    *characters.RULES,
    *personal.RULES,
    *answers.RULES,
    *_NOTES,
)
"""Rules that need one row and nothing else. Licences go by the producer, `licence_rule`."""

_OTHERS = (
    RuleDescription(REPEATED, "error", "the line has the id and the content of an earlier one"),
    RuleDescription(BENCHMARK, "error", "the prompt shares 13 words in a row with HumanEval"),
    RuleDescription(OVER_LONG, "warning", "the row is longer than `--max-tokens`; it is never cut"),
    RuleDescription(PROMPT_DIFFERS, "warning", "training asks otherwise than the log was asked"),
    RuleDescription(CONTRADICTION, "warning", "the prompt has different answers in the log"),
    RuleDescription(
        SAME_ANSWER, "warning", "an earlier row has the same prompt and the same answer"
    ),
    RuleDescription(REPEATED_ANSWER, "warning", "three or more different prompts got this answer"),
    RuleDescription(
        NEAR_PROMPT, "note", "another row asks nearly the same; both stay in one split"
    ),
    RuleDescription(SAME_PROMPT, "note", "another row asks the same; both stay in one split"),
)


def _ordered() -> tuple[RuleDescription, ...]:
    notes = {rule.id for rule in _NOTES}
    rows = [
        RuleDescription(rule.id, "note" if rule.id in notes else rule.severity, rule.meaning)
        for rule in (*LOOKS, *_LICENCES)
    ]
    levels = ("error", "warning", "note")
    return tuple(sorted((*rows, *_OTHERS), key=lambda rule: levels.index(rule.level)))


KNOWN = _ordered()
"""All rules, errors first."""

PLACES: Mapping[str, int] = MappingProxyType({rule.id: at for at, rule in enumerate(KNOWN)})


def in_order(rules: set[str]) -> tuple[str, ...]:
    """Ids in the order of the table."""
    return tuple(sorted(rules, key=PLACES.__getitem__))


def licence_rule(producer: str | None) -> str | None:
    """The rule that the terms of a producer's maker match, or None where they permit training."""
    verdict = licences.terms_of(producer).verdict
    return None if verdict == "permits" else f"licence-{verdict}"
