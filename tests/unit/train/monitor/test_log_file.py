"""`train.log`: every event as a line, and a log that fails does not end the run."""

import re
from pathlib import Path

import pytest

from journeyman.errors import MachineError
from journeyman.events import Caution, Event, Note, Progress, ProgressEnded
from journeyman.train.monitor.log_file import LOG, LogFile, last_lines


def written(folder: Path) -> list[str]:
    """The lines without their time, which must be there."""
    lines = (folder / LOG).read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines)
    return [line[21:] for line in lines]


def test_every_event_is_written_and_passed_on(tmp_path: Path) -> None:
    events: list[Event] = []
    log = LogFile(tmp_path, events.append)
    log.report(Note("threads: 2"))
    log.report(Caution("the validation loss rises", hint="try fewer epochs"))
    log.failed(MachineError("disk full", hint="make room"))
    assert written(tmp_path) == [
        "threads: 2",
        "warning: the validation loss rises",
        "hint: try fewer epochs",
        "error: disk full",
        "hint: make room",
    ]
    assert len(events) == 2


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [(30.0, ["9 steps"]), (0.0, [f"train {n}/3 tokens" for n in (1, 2, 3)] + ["9 steps"])],
)
def test_progress_is_written_every_so_many_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, lines: list[str]
) -> None:
    monkeypatch.setattr("journeyman.train.monitor.log_file.SECONDS_BETWEEN_LINES", seconds)
    events: list[Event] = []
    log = LogFile(tmp_path, events.append)
    for done in range(1, 4):
        log.report(Progress("train", done, 3, "tokens"))
    log.report(ProgressEnded("train", "9 steps"))
    assert written(tmp_path) == lines
    assert len(events) == 4


def test_a_log_that_cannot_be_written_is_reported_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    events: list[Event] = []
    log = LogFile(tmp_path, events.append)
    log.report(Note("one"))
    log.report(Note("two"))
    assert [type(one) for one in events] == [Caution, Note, Note]
    assert "train.log" in str(events[0])


def test_the_last_lines_of_a_long_log_are_whole(tmp_path: Path) -> None:
    assert last_lines(tmp_path, 3) == ()
    lines = [f"line {number} {'x' * 90}" for number in range(400)]
    (tmp_path / LOG).write_text("\n".join(lines) + "\nhalf")
    assert last_lines(tmp_path, 2) == tuple(lines[-2:])
