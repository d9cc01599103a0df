"""A rule of the doctor: its id, its level, its meaning, and how to find it in a row."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from journeyman.records import Interaction

Level = Literal["error", "warning", "note"]
"""An `error` should not be trained on; a `note` is a habit of the log, not a fault of a row."""

Action = Literal["kept", "masked", "dropped", "quarantined"]


class Rule(Struct, frozen=True):
    """A rule as the report shows it."""

    id: str
    level: Level
    meaning: str


class RowRule(Rule, frozen=True):
    """A rule that needs one row and nothing else. `find` gives what was seen, or None."""

    find: Callable[[Interaction], str | None]
