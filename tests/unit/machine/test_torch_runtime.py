"""`torch_runtime`: what is freed stays at hand during a run and goes back after it."""

import os
import platform
import subprocess
import sys

import pytest

from tests.needs import this_machine

# A process of its own: the allocator's state is the process's.
WATCH = """
import sys
import torch
from journeyman.machine.torch_runtime import freed_memory_kept
from journeyman.machine.process_memory import rss_bytes

MIB = 2**20
def freed():
    before = rss_bytes()
    block = torch.ones(96 * MIB, dtype=torch.uint8)
    held = rss_bytes() - before
    del block
    return held // MIB, (rss_bytes() - before) // MIB

torch.ones(8)
with freed_memory_kept(sys.argv[1] == "wanted"):
    before = rss_bytes()
    held, kept = freed()
after = (rss_bytes() - before) // MIB
with freed_memory_kept(False):
    later = freed()[1]
print(held, kept, after, later)
"""

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason=this_machine("has another C library than glibc")
)


def watched(word: str, **environment: str) -> list[int]:
    usual = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCH, word],
        env=usual | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(number) for number in done.stdout.split()]


def test_freed_memory_stays_until_the_block_ends() -> None:
    held, kept, after, later = watched("wanted")
    assert held >= 90
    assert kept >= 90
    assert after < 10
    assert later < 10


@pytest.mark.parametrize(
    ("word", "environment"),
    [
        ("not wanted", {}),
        ("wanted", {"MALLOC_TOP_PAD_": "131072"}),
        ("wanted", {"GLIBC_TUNABLES": "glibc.malloc.top_pad=131072"}),
    ],
)
def test_otherwise_the_allocator_is_left_alone(word: str, environment: dict[str, str]) -> None:
    held, kept, _, _ = watched(word, **environment)
    assert held >= 90
    assert kept < 10
