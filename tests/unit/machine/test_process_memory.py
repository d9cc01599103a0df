"""Memory of a process: its own peak, what a call adds to it, and the parts of it now."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from journeyman.machine.process_memory import (
    group_memory_bytes,
    peak_growth_bytes,
    peak_rss_bytes,
    process_memory,
    rss_bytes,
)
from tests.needs import this_machine

ASK = "from journeyman.machine.process_memory import peak_rss_bytes; print(peak_rss_bytes())"
# Larger than any process that only imports and asks.
ENOUGH_BYTES = 2**30


def output_of(code: str) -> int:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return int(process.stdout)


def test_a_large_parents_peak_is_not_the_childs() -> None:
    code = f"""
import subprocess, sys
block = b"x" * {ENOUGH_BYTES}
print(subprocess.check_output([sys.executable, "-c", {ASK!r}], text=True))
"""
    assert 2**20 < output_of(code) < ENOUGH_BYTES


def test_the_peak_stays_once_memory_is_freed() -> None:
    code = f"""
from journeyman.machine.process_memory import peak_rss_bytes
block = b"x" * {ENOUGH_BYTES}
del block
print(peak_rss_bytes())
"""
    assert output_of(code) > ENOUGH_BYTES


def test_without_proc_the_peak_comes_from_getrusage(tmp_path: Path) -> None:
    assert rss_bytes(proc=tmp_path) is None
    assert peak_rss_bytes(proc=tmp_path) > 2**20


def test_memory_that_is_held_for_a_moment_is_seen() -> None:
    growth = peak_growth_bytes(lambda: torch.ones(64 * 1024 * 1024 // 4).sum())
    if growth is not None:
        assert 60 * 1024**2 < growth < 100 * 1024**2


def test_memory_is_read_from_the_kernel() -> None:
    memory = process_memory()
    if memory is None:
        pytest.skip(this_machine("has no /proc"))
    assert memory.peak_bytes is not None
    assert memory.anonymous_bytes is not None
    assert memory.peak_bytes >= memory.anonymous_bytes > 2**20


def test_memory_of_a_process_that_is_gone_is_not_known(tmp_path: Path) -> None:
    assert process_memory(1, proc=tmp_path) is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "status").write_text("Name:\tx\nVmHWM:\t    12 kB\nRssAnon:\t 8 kB\n")
    memory = process_memory(1, proc=tmp_path)
    assert memory is not None
    assert (memory.peak_bytes, memory.anonymous_bytes, memory.file_bytes) == (12288, 8192, None)


def test_a_process_group_has_the_memory_of_its_processes() -> None:
    size_bytes, count = group_memory_bytes(os.getpgid(0))
    assert count >= 1
    assert size_bytes > 2**20
