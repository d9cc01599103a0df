"""What each policy does with the facts about a row; nothing else decides it."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from journeyman.prepare.records import Action
from journeyman.settings import Policy

REPEATED = "repeated"
"""The rule for a line that has an earlier line's id and says the same."""

_ALWAYS = frozenset({"failed", "empty", REPEATED})
_UNFIT = _ALWAYS | {"mock", "think-unclosed"}
_DROPPED: Mapping[Policy, frozenset[str]] = MappingProxyType(
    {"seed": _ALWAYS, "salvage": _UNFIT, "strict": _UNFIT | {"cut-off"}}
)


def action_for(rules: Collection[str], policy: Policy) -> Action:
    """What becomes of a row that these rules matched.

    An answer without text is dropped by every policy: there is nothing in it to learn.
    """
    if _DROPPED[policy].intersection(rules):
        return "dropped"
    return "masked" if policy == "salvage" and "cut-off" in rules else "kept"
