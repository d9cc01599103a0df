"""`train --watch`: a run is observed from its folder, and nothing there is changed."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from journeyman.cli.watch import curve, headline, one_line, watch
from journeyman.console import Console
from journeyman.errors import Interrupted, JourneymanError, MachineError, UsageError
from journeyman.train.monitor.status import Status, new_status, write_status
from journeyman.train.watch import Verdict, observe_run

SPEED = {"tokens_done": 500, "tokens_total": 1000, "tokens_per_s": 312.4, "eta_s": 4.0}
AT = {"step": 12, "steps": 57, "micro_batch": 3, "micro_batches": 8, "epoch": 0}
TRAINING = replace(new_status("training"), loss=1.284, rss_bytes=3 * 2**30, **AT, **SPEED)


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def written(folder: Path, status: Status, *, ago_s: float = 0.0) -> None:
    """Write a status whose last sign of life was so long ago."""
    write_status(folder, status)
    now = time.monotonic_ns()
    stamp = f'"monotonic_ns":{int(now - ago_s * 1e9)}'
    text = (folder / "status.json").read_text()
    at = text.index('"monotonic_ns":')
    (folder / "status.json").write_text(text[:at] + stamp + text[text.index(",", at) :])


def seen(folder: Path) -> Verdict:
    return observe_run(folder).verdict


def test_a_folder_without_a_run_is_absent(tmp_path: Path) -> None:
    assert seen(tmp_path) == "absent"
    (tmp_path / "status.json").write_text('{"state":')
    assert seen(tmp_path) == "absent"


def test_a_living_process_with_a_heartbeat_is_running(tmp_path: Path) -> None:
    write_status(tmp_path, TRAINING)
    assert seen(tmp_path) == "running"


def old_process(folder: Path) -> Path:
    """A /proc in which process 1 sleeps and began (field 22) long before any status here."""
    (folder / "proc" / "1").mkdir(parents=True, exist_ok=True)
    fields = ["1", "(a name) with) brackets)", "S", *["-100000000"] * 40]
    (folder / "proc" / "1" / "stat").write_text(" ".join(fields))
    return folder / "proc"


@pytest.mark.parametrize(
    ("tokens_total", "tokens_per_s", "running_s", "stalled_s"),
    [
        # Ten minutes are always allowed.
        (1000, 312.4, 590, 610),
        # 1e6 tokens / 57 steps / 8 micro-batches / 20 tokens a second: 110 s each, times ten.
        (1_000_000, 20.0, 1080, 1110),
    ],
)
def test_silence_is_a_stall_beyond_ten_minutes_and_ten_micro_batches(
    tmp_path: Path, tokens_total: int, tokens_per_s: float, running_s: float, stalled_s: float
) -> None:
    status = replace(TRAINING, pid=1, tokens_total=tokens_total, tokens_per_s=tokens_per_s)
    proc = old_process(tmp_path)
    written(tmp_path, status, ago_s=running_s)
    assert observe_run(tmp_path, proc=proc).verdict == "running"
    written(tmp_path, status, ago_s=stalled_s)
    assert observe_run(tmp_path, proc=proc).verdict == "stalled"


def test_a_suspended_process_is_named_with_the_command_that_wakes_it(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    write_status(tmp_path, replace(TRAINING, pid=sleeper.pid))
    sleeper.send_signal(signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    sight = observe_run(tmp_path)
    assert sight.verdict == "suspended"
    assert f"kill -CONT {sleeper.pid}" in sight.why


def test_a_killed_process_is_dead(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    write_status(tmp_path, replace(TRAINING, pid=sleeper.pid))
    sleeper.kill()
    sleeper.wait()
    assert seen(tmp_path) == "dead"


def test_another_process_with_the_same_number_is_not_the_run(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    written(tmp_path, replace(TRAINING, pid=sleeper.pid), ago_s=60)
    assert seen(tmp_path) == "dead"


def test_a_run_from_before_a_reboot_is_dead(tmp_path: Path) -> None:
    written(tmp_path, TRAINING, ago_s=-1e6)
    assert seen(tmp_path) == "dead"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (replace(TRAINING, state="stopped", message="on request"), Interrupted, "on request"),
        (replace(TRAINING, state="failed", message="disk full"), MachineError, "disk full"),
        (replace(TRAINING, pid=2**22 + 1), MachineError, "was killed"),
    ],
)
def test_watching_ends_as_the_run_ended(
    tmp_path: Path, status: Status, kind: type[JourneymanError], said: str
) -> None:
    write_status(tmp_path, status)
    with pytest.raises(kind, match=said):
        watch(tmp_path, Console(out=io.StringIO()))
    with pytest.raises(UsageError):
        watch(tmp_path / "missing", Console(out=io.StringIO()))


def lines_of(folder: Path, *changes: Callable[[], None]) -> list[str]:
    """What is printed without a terminal while the changes happen, one after each observation."""
    out, left = io.StringIO(), list(changes)
    watch(folder, Console(out=out), pause=lambda _: left.pop(0)())
    return out.getvalue().splitlines()


def test_without_a_terminal_it_prints_lines_until_the_end(tmp_path: Path) -> None:
    def warn() -> None:
        text = "2026-01-01 10:00:00  warning: the validation loss rises\n"
        (tmp_path / "train.log").write_text("2026-01-01 09:59:59  threads: 1\n" + text)

    assert lines_of(
        tmp_path,
        lambda: write_status(tmp_path, TRAINING),
        lambda: None,
        warn,
        lambda: write_status(tmp_path, replace(TRAINING, state="finished", step=57)),
    ) == [
        f"no run has started in `{tmp_path}` yet",
        "training  step 12/57  micro-batch 3/8  epoch 1  loss 1.2840  throughput 312 tok/s  "
        "memory 3.0 GiB  eta 4 s",
        "2026-01-01 10:00:00  warning: the validation loss rises",
        "finished  step 57/57  epoch 1  loss 1.2840  throughput 312 tok/s  memory 3.0 GiB",
    ]


def test_watching_changes_no_byte_and_no_name(tmp_path: Path) -> None:
    write_status(tmp_path, replace(TRAINING, state="finished"))
    before = {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()
    }
    watch(tmp_path, Console(out=io.StringIO()))
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    assert after == before


def test_a_dead_run_is_shown_in_capitals_not_only_in_colour(tmp_path: Path) -> None:
    write_status(tmp_path, replace(TRAINING, pid=2**22 + 1, limit_share=0.41))
    sight = observe_run(tmp_path)
    assert headline(sight).startswith("DEAD  process 4194305 is gone")
    assert "312 tok/s, 41% of this machine's limit" in one_line(sight)


def test_a_curve_goes_from_the_highest_block_to_the_lowest() -> None:
    assert curve((8.0, 4.5, 1.0)) == "█▅▁"
    assert curve((1.0,)) == ""
    assert curve((2.0, 2.0)) == "▁▁"
    assert len(curve(tuple(float(x) for x in range(1000)))) == 40
