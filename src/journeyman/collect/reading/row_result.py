"""What one row of a log gives: interactions, or the reason why there are none."""

from msgspec import Struct

from journeyman.files import LineFault
from journeyman.records import Interaction


class SkippedLogRow(Struct, frozen=True):
    """A sound row that gives no interaction: its line from 1, and the reason."""

    line: int
    reason: str


RowResult = Interaction | LineFault | SkippedLogRow


class BrokenRow(Exception):
    """The row is broken; the text names the field and the problem."""


class UnusableRow(Exception):
    """The row is sound but gives no interaction; the text says why."""
