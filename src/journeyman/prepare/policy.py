"""What each policy does with the facts about a row; nothing else decides it."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.prepare.records import Action
from journeyman.prepare.rules import BENCHMARK, CUT_OFF, KNOWN, PLACES, REPEATED, SECRET
from journeyman.settings import Policy

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
