"""Events: how library code reports to the user. Nothing here prints.

A stage takes a `Reporter` and calls it with events; `journeyman.console` shows them as lines, bars
and tables. Pass `ignore` to silence a stage.
"""

from collections.abc import Callable

from msgspec import Struct


class StageStarted(Struct, frozen=True):
    """A stage begins: `name` is its command, `detail` says what it will do."""

    name: str
    detail: str = ""


class Note(Struct, frozen=True):
    """Information worth a line, such as a value that was chosen and why."""

    text: str


class Caution(Struct, frozen=True):
    """A warning that the user should act on; `hint` says how. Work continues."""

    text: str
    hint: str = ""


class Progress(Struct, frozen=True):
    """How far one task is. `total` is None while it is unknown.

    `detail` is ready to show (`loss 1.284  312 tok/s`); `remaining_s` is an estimate in seconds.
    """

    task: str
    done: float
    total: float | None = None
    unit: str = ""
    detail: str = ""
    remaining_s: float | None = None


class ProgressEnded(Struct, frozen=True):
    """The task of earlier `Progress` events is finished; `summary` is its last line."""

    task: str
    summary: str = ""


class Table(Struct, frozen=True):
    """A table. Every cell is text that is ready to show."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Event = StageStarted | Note | Caution | Progress | ProgressEnded | Table
Reporter = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A reporter that shows nothing."""


def counted(count: int, one: str, several: str) -> str:
    """`1 row has` or `2 rows have`: a number with the words in the right form."""
    return f"{count} {one if count == 1 else several}"
