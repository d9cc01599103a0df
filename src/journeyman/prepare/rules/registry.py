"""Every rule of the doctor in the order of the report, and what each policy does about it.

Three kinds: rules that look at one row alone (`ROW_RULES`), rules about the prompt that the row is
trained on, and rules that need the whole log. A finding decides nothing; the policy does.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from journeyman.errors import UsageError
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
from journeyman.prepare.rules.rule import Action, RowRule, Rule
from journeyman.settings import Policy

REPEATED = "repeated"
CUT_OFF, SECRET = "cut-off", "secret"
PROMPT_DIFFERS, BENCHMARK, OVER_LONG = "prompt-differs", "benchmark", "over-long"
SAME_PROMPT, NEAR_PROMPT = "same-prompt", "near-prompt"
SAME_ANSWER, CONTRADICTION, REPEATED_ANSWER = "duplicate", "contradiction", "repeated-answer"

ROW_RULES: tuple[RowRule, ...] = (
    *completeness.RULES,
    *secrets.RULES,
    *wording.RULES,
    *code.RULES,
    *characters.RULES,
    *personal_data.RULES,
    *answers.RULES,
)

_OTHERS = (
    Rule(REPEATED, "error", "an earlier line has the same id and content"),
    Rule(BENCHMARK, "error", "contamination: the prompt shares 13 words in a row with HumanEval"),
    Rule(OVER_LONG, "warning", "the row is longer than `--max-tokens` (rows are never cut)"),
    Rule(PROMPT_DIFFERS, "warning", "training uses another prompt than the log shows"),
    Rule(CONTRADICTION, "warning", "the same prompt has different answers in the log"),
    Rule(SAME_ANSWER, "warning", "an earlier row has the same prompt and the same answer"),
    Rule(REPEATED_ANSWER, "warning", "three or more different prompts got this answer"),
    Rule(NEAR_PROMPT, "note", "another row has nearly the same prompt; both stay in one split"),
    Rule(SAME_PROMPT, "note", "another row has the same prompt; both stay in one split"),
)

_LEVELS = ("error", "warning", "note")

ALL_RULES: tuple[Rule, ...] = tuple(
    sorted((*ROW_RULES, *licences.RULES, *_OTHERS), key=lambda rule: _LEVELS.index(rule.level))
)
"""All rules, errors first."""

PLACES: Mapping[str, int] = MappingProxyType({rule.id: at for at, rule in enumerate(ALL_RULES)})


def in_order(rules: set[str]) -> tuple[str, ...]:
    """Ids in the order of the report."""
    return tuple(sorted(rules, key=PLACES.__getitem__))


Treatment = Literal["drop", "mask", "keep", "redact", "fail"]
"""What a policy does with the rows that match a rule; `fail` refuses the whole log."""

_TREATMENTS: tuple[Treatment, ...] = ("drop", "mask", "keep", "fail")

_DROP: Treatment = "drop"

_ALWAYS_DROPPED = ("failed", "empty", REPEATED)

# An answer without text has nothing to learn, and an id may appear once in a split.
_NEVER_KEPT = frozenset({"empty", REPEATED})

_SEED: Mapping[str, Treatment] = MappingProxyType(dict.fromkeys(_ALWAYS_DROPPED, _DROP))

_SALVAGE: Mapping[str, Treatment] = MappingProxyType(
    {
        **dict.fromkeys((*_ALWAYS_DROPPED, "mock", "think-unclosed", BENCHMARK), _DROP),
        CUT_OFF: "mask",
        SECRET: "redact",
    }
)

_POLICIES: Mapping[Policy, Mapping[str, Treatment]] = MappingProxyType(
    {"seed": _SEED, "salvage": _SALVAGE, "strict": {**_SALVAGE, CUT_OFF: "drop"}}
)


class Decision(Struct, frozen=True):
    """What becomes of a row, and which rule decided it (empty: none)."""

    action: Action
    reason: str = ""


def treatments(policy: Policy, given: Sequence[str] = ()) -> dict[str, Treatment]:
    """What to do with each rule, by its id. given: `ID=ACTION`, later ones win.

    Raises UsageError that names every fault, and the known rules and actions.
    """
    chosen: dict[str, Treatment] = {
        rule.id: _POLICIES[policy].get(rule.id, "keep") for rule in ALL_RULES
    }
    faults = []
    for text in given:
        name, _, action = (part.strip() for part in text.partition("="))
        allowed = _allowed(name)
        if name not in PLACES:
            faults.append(f"`--rule {text}`: there is no rule `{name}`")
        elif action not in allowed:
            faults.append(f"`--rule {text}`: `{name}` takes {_listed(allowed)}, not `{action}`")
        else:
            chosen[name] = next(one for one in allowed if one == action)
    if faults:
        raise UsageError(
            "; ".join(faults),
            hint=f"write --rule ID=ACTION; actions are {_listed(_TREATMENTS)};"
            f" rules are {_listed(PLACES)}",
        )
    return chosen


def decide(rules: Sequence[str], chosen: Mapping[str, Treatment]) -> Decision:
    """What becomes of a row with these findings: the first rule that drops decides, then masks."""
    for rule in rules:
        if chosen[rule] == "drop":
            return Decision("dropped", rule)
    for rule in rules:
        if chosen[rule] == "mask":
            return Decision("masked", rule)
    return Decision("kept")


def _allowed(name: str) -> tuple[Treatment, ...]:
    if name in _NEVER_KEPT:
        return ("drop", "fail")
    return (*_TREATMENTS, "redact") if name == SECRET else _TREATMENTS


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
