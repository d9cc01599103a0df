"""`journeyman.machine.memory`: the peak is this process's own."""

import subprocess
import sys
from pathlib import Path

from journeyman.machine.memory import peak_rss_bytes, status_bytes

ASK = "from journeyman.machine.memory import peak_rss_bytes; print(peak_rss_bytes())"
# Larger than any process that only imports and asks.
ENOUGH_BYTES = 2**30


def test_a_large_parents_peak_is_not_the_childs() -> None:
    held = f"""
import subprocess, sys
block = b"x" * {ENOUGH_BYTES}
print(subprocess.check_output([sys.executable, "-c", {ASK!r}], text=True))
"""
    answer = subprocess.run(
        [sys.executable, "-c", held], capture_output=True, text=True, check=True
    )
    assert 2**20 < int(answer.stdout) < ENOUGH_BYTES


def test_the_peak_stays_once_memory_is_freed() -> None:
    held = f"""
from journeyman.train.memory import peak_rss_bytes
block = b"x" * {ENOUGH_BYTES}
del block
print(peak_rss_bytes())
"""
    answer = subprocess.run(
        [sys.executable, "-c", held], capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) > ENOUGH_BYTES


def test_where_the_kernel_is_silent_another_count_serves(tmp_path: Path) -> None:
    assert status_bytes("VmHWM", proc=tmp_path) is None
    assert peak_rss_bytes(proc=tmp_path) > 2**20
