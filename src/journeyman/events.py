"""What library code has to say to the person in front of it. Nothing here prints.

A stage takes a `Reporter` and calls it with events; `journeyman.console` turns them into lines,
bars and tables. A caller who wants silence passes `ignore`.
"""

from collections.abc import Callable

from msgspec import Struct


class StageStarted(Struct, frozen=True):
    """A stage begins: `name` is its command, `detail` what it is about to do."""

    name: str
    detail: str = ""


class Note(Struct, frozen=True):
    """A fact worth a line, e.g. a value that was chosen and the reason."""

    text: str


class Caution(Struct, frozen=True):
    """Something the user should act on; `hint` says how. Work goes on."""

    text: str
    hint: str = ""


class Progress(Struct, frozen=True):
    """Work done so far on one task. `total` is None while it is unknown.

    `detail` is ready to show (`loss 1.284  312 tok/s`); `remaining_s` is an estimate in seconds.
    """

    task: str
    done: float
    total: float | None = None
    unit: str = ""
    detail: str = ""
    remaining_s: float | None = None


class ProgressEnded(Struct, frozen=True):
    """The task named in earlier `Progress` events is over; `summary` is its last line."""

    task: str
    summary: str = ""


class Table(Struct, frozen=True):
    """Rows to read side by side. Every cell is text that is ready to show."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Event = StageStarted | Note | Caution | Progress | ProgressEnded | Table
Reporter = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A reporter that says nothing."""


def counted(count: int, one: str, several: str) -> str:
    """`1 row has` or `2 rows have`: how many, with the words that fit."""
    return f"{count} {one if count == 1 else several}"
