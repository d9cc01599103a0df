"""What other programs used, told apart from what we and our children used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.machine.load import ProcessorUsage, mean_load, other_load, processor_usage
from tests.needs import this_machine

TICKS = os.sysconf("SC_CLK_TCK")


def write_process(proc: Path, pid: int, parent: int, ticks: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = [str(parent), *["0"] * 9, str(ticks), "0", "0", "0", *["9"] * 6]
    (proc / str(pid) / "stat").write_text(f"{pid} (a b) c) S {' '.join(fields)}")


def test_children_and_their_children_are_ours_and_strangers_are_not(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 10 20 9999 5 1 2 30 4 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    write_process(tmp_path, os.getpid(), 1, 2 * TICKS)
    write_process(tmp_path, 900001, os.getpid(), 3 * TICKS)
    write_process(tmp_path, 900002, 900001, 5 * TICKS)
    write_process(tmp_path, 900003, 1, 7 * TICKS)
    (tmp_path / "900004").mkdir()  # ended while it was looked at
    found = processor_usage(proc=tmp_path, clock=lambda: 4.0)
    assert found is not None
    assert found.own_s == 10.0
    # user, nice, system, irq, softirq and steal; neither idle nor waiting for a disk.
    assert found.all_s == pytest.approx((100 + 10 + 20 + 1 + 2 + 30) / TICKS)


def test_a_system_without_counters_knows_nothing(tmp_path: Path) -> None:
    assert processor_usage(proc=tmp_path) is None
    assert other_load(None, ProcessorUsage(1, 1, 1)) is None
    assert mean_load([(None, 1.0), (2.0, None)]) is None


def test_what_is_left_after_our_own_is_others() -> None:
    before, after = ProcessorUsage(10.0, 100.0, 50.0), ProcessorUsage(12.0, 105.0, 54.0)
    assert other_load(before, after) == 0.5  # 5 s in all, 4 s ours, over 2 s
    assert other_load(before, ProcessorUsage(12.0, 104.0, 54.1)) == 0.0


def test_long_requests_weigh_more() -> None:
    assert mean_load([(1.0, 3.0), (0.0, 1.0)]) == 0.75


def test_our_own_work_is_not_taken_for_others() -> None:
    if not Path("/proc/stat").is_file():
        pytest.skip(this_machine("has no /proc"))
    before = processor_usage()
    subprocess.run([sys.executable, "-c", "sum(range(4_000_000))"], check=True)
    after = processor_usage()
    assert before is not None
    assert after is not None
    assert after.own_s > before.own_s
