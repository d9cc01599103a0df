"""`status.json` and its heartbeat: never half written, never a reason to end, stalls reported."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from journeyman.events import Caution, Event
from journeyman.train.monitor.status import (
    STATUS,
    Watchdog,
    heartbeat,
    new_status,
    read_status,
    write_status,
)
from tests.waiting import wait_for

FIELDS = (
    "state pid process_count step steps micro_batch micro_batches epoch tokens_done tokens_total "
    "tokens_per_s loss validation_loss learning_rate rss_bytes eta_s limit_share updated_at "
    "monotonic_ns message"
)


def test_a_status_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_status(tmp_path, msgspec.structs.replace(new_status("training"), step=3, loss=1.5))
    found = read_status(tmp_path)
    assert found is not None
    assert (found.state, found.pid, found.step, found.loss) == ("training", os.getpid(), 3, 1.5)


def test_the_file_has_every_field_and_null_for_what_is_not_known(tmp_path: Path) -> None:
    write_status(tmp_path, new_status("starting"))
    written = msgspec.json.decode((tmp_path / STATUS).read_bytes())
    assert list(written) == FIELDS.split()
    assert written["limit_share"] is None


def test_a_later_status_is_later_on_both_clocks(tmp_path: Path) -> None:
    status = new_status("starting")
    write_status(tmp_path, status)
    found = read_status(tmp_path)
    assert found is not None
    assert found.monotonic_ns >= status.monotonic_ns
    assert found.updated_at >= status.updated_at


def test_an_unreadable_status_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    for junk in (b"", b"{", b"\xff\xfe", b'{"state": "dancing"}', b"[]"):
        (tmp_path / STATUS).write_bytes(junk)
        assert read_status(tmp_path) is None


def test_nothing_but_the_status_is_left_behind(tmp_path: Path) -> None:
    for _ in range(3):
        write_status(tmp_path, new_status("training"))
    assert [path.name for path in tmp_path.iterdir()] == [STATUS]


def test_a_stall_is_reported_once_with_the_stacks_of_all_threads(tmp_path: Path) -> None:
    """Fault 30: a loader that sleeps."""
    stalls: list[tuple[float, Path]] = []
    with Watchdog(tmp_path, lambda s, path: stalls.append((s, path)), least_s=0.05):
        wait_for("the stall is noticed", lambda: stalls)
        time.sleep(0.1)  # twice as long as a stall takes: it could be reported again
    assert len(stalls) == 1
    assert "test_a_stall_is_reported_once" in stalls[0][1].read_text()


def test_a_stall_is_ten_times_the_median_and_at_least_ten_minutes(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, lambda *_: None, least_s=0.0)
    watchdog._intervals_s.extend([1.0, 2.0, 60.0])
    assert watchdog.limit_s == 20.0
    assert Watchdog(tmp_path, lambda *_: None).limit_s == 600.0


def test_setting_the_clock_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 31."""
    events: list[Event] = []
    with heartbeat(tmp_path, events.append) as beat:
        beat.beat(beat.status)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 86400.0)
        beat.beat(beat.status)
        beat.beat(beat.status)
    texts = [event.text for event in events if isinstance(event, Caution)]
    assert len(texts) == 1
    assert "-86400 s" in texts[0]


@pytest.mark.parametrize(
    ("error", "state"), [(ZeroDivisionError, "failed"), (KeyboardInterrupt, "stopped")]
)
def test_the_last_status_says_how_a_run_ended(
    tmp_path: Path, error: type[BaseException], state: str
) -> None:
    with pytest.raises(error), heartbeat(tmp_path, lambda _: None):
        raise error
    status = read_status(tmp_path)
    assert status is not None
    assert status.state == state


def test_a_status_that_cannot_be_written_is_reported_once_and_ends_nothing(tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / STATUS).mkdir()
    with heartbeat(tmp_path, events.append) as beat:
        beat.beat(beat.status)
    assert [type(event) for event in events] == [Caution]
