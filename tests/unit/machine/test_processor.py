"""Cores by what the kernel says of them."""

import os
from pathlib import Path

from journeyman.machine.processor import physical_cores


def test_two_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for cpu in os.sched_getaffinity(0):
        folder = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text("0-1\n")
    assert physical_cores(system=tmp_path) == 1


def test_where_the_kernel_is_silent_every_thread_counts(tmp_path: Path) -> None:
    assert physical_cores(system=tmp_path) == len(os.sched_getaffinity(0))
