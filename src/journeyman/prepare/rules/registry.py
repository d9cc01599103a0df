"""Every rule of the doctor: its id, how bad it is, and what it means; and those that look at a row.

Three kinds: rules that look at one row alone (`LOOKS`), rules that compare a row with the prompt it
is trained with, and rules that only the whole set decides. What follows is the policy's.

What each policy does with the facts about a row; nothing else decides it.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.prepare.records import Action, Level
from journeyman.prepare.rules import (
    answers,
    characters,
    code,
    completeness,
    licences,
    personal_data,
    secrets,
    wording,
)
from journeyman.prepare.rules.completeness import RowRule
from journeyman.settings import Policy

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


_NOTES = (*wording.NOTES, *code.NOTES)

_LICENCES = licences.RULES

LOOKS: tuple[RowRule, ...] = (
    *completeness.RULES,
    *secrets.RULES,
    *wording.RULES,
    *code.RULES,
    *characters.RULES,
    *personal_data.RULES,
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


Does = Literal["drop", "mask", "keep", "redact", "fail"]

CHOICES: tuple[Does, ...] = ("drop", "mask", "keep", "fail")

_ALWAYS = ("failed", "empty", REPEATED)

# There is nothing to learn from an answer without text, and an id may stand in a split once.
_FIXED = frozenset({"empty", REPEATED})

_DROP: Does = "drop"

_SEED: Mapping[str, Does] = MappingProxyType(dict.fromkeys(_ALWAYS, _DROP))

_SALVAGE: Mapping[str, Does] = MappingProxyType(
    {
        **dict.fromkeys((*_ALWAYS, "mock", "think-unclosed", BENCHMARK), _DROP),
        CUT_OFF: "mask",
        SECRET: "redact",
    }
)

_POLICIES: Mapping[Policy, Mapping[str, Does]] = MappingProxyType(
    {"seed": _SEED, "salvage": _SALVAGE, "strict": {**_SALVAGE, CUT_OFF: "drop"}}
)


class Decision(Struct, frozen=True):
    """What becomes of a row, and which rule decided it (empty: none)."""

    action: Action
    reason: str = ""


def resolved(policy: Policy, given: Sequence[str] = ()) -> dict[str, Does]:
    """What is done with each rule, by its id. given: `ID=ACTION`, later ones win.

    Raises UsageError that names everything wrong with them, and what is known.
    """
    does: dict[str, Does] = {rule.id: _POLICIES[policy].get(rule.id, "keep") for rule in KNOWN}
    faults = []
    for text in given:
        name, _, action = (part.strip() for part in text.partition("="))
        allowed = _allowed(name)
        if name not in PLACES:
            faults.append(f"`--rule {text}`: there is no rule `{name}`")
        elif action not in allowed:
            faults.append(f"`--rule {text}`: `{name}` may be {_listed(allowed)}, not `{action}`")
        else:
            does[name] = next(one for one in allowed if one == action)
    if faults:
        raise UsageError(
            "; ".join(faults),
            hint=f"write --rule ID=ACTION; actions are {_listed(CHOICES)};"
            f" rules are {_listed(PLACES)}",
        )
    return does


def decide(rules: Sequence[str], does: Mapping[str, Does]) -> Decision:
    """What becomes of a row that these rules matched, the worst first."""
    for rule in rules:
        if does[rule] == "drop":
            return Decision("dropped", rule)
    for rule in rules:
        if does[rule] == "mask":
            return Decision("masked", rule)
    return Decision("kept")


def _allowed(name: str) -> tuple[Does, ...]:
    if name in _FIXED:
        return ("drop", "fail")
    return (*CHOICES, "redact") if name == SECRET else CHOICES


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
