"""`journeyman.console`: data to stdout, everything else to stderr, plain where nobody looks."""

import io

import pytest

from journeyman.console import Console
from journeyman.errors import DataRefused
from journeyman.events import Caution, Note, Progress, ProgressEnded, StageStarted, Table
from journeyman.formatting import duration, in_columns, progress_line


def shown(*events: object) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with Console(out=out, err=err) as console:
        for event in events:
            console.report(event)  # type: ignore[arg-type]
    return out.getvalue(), err.getvalue()


def test_events_go_to_stderr_and_leave_stdout_to_data() -> None:
    out, err = shown(StageStarted("train", "3 epochs"), Note("fp32"), Caution("cut off", "look"))
    assert out == ""
    assert err == "\n== train: 3 epochs\n   fp32\nwarning: cut off\nhint: look\n"


def test_progress_off_a_terminal_is_its_first_and_its_last_line() -> None:
    events = [Progress("train", n, 100, "steps", f"loss {n}") for n in range(1, 101)]
    _, err = shown(*events, ProgressEnded("train", "trained"))
    assert err == "   train 1/100 steps  loss 1\n   train 100/100 steps  loss 100\n   trained\n"


def test_a_progress_line_has_units_and_an_eta() -> None:
    event = Progress("train", 120, 360, "steps", "loss 1.284  312 tok/s", 2460)
    assert progress_line(event) == "train 120/360 steps  loss 1.284  312 tok/s  eta 41 min"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89.4, "89 s"), (120, "2 min"), (12_000, "3 h 20 min")]
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_table_lines_up() -> None:
    table = Table("rungs", ("rung", "base"), (("S0", "31 of 31"), ("S4 long", "1")))
    assert in_columns(table).splitlines() == [
        "rungs",
        "rung     base",
        "-------  --------",
        "S0       31 of 31",
        "S4 long  1",
    ]


def test_an_error_is_two_lines_without_markup() -> None:
    err = io.StringIO()
    with Console(err=err) as console:
        console.error(DataRefused("line 3 has no `[bold]task`", hint="fix it"))
    assert err.getvalue() == "error: line 3 has no `[bold]task`\nhint: fix it\n"
