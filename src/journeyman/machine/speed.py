"""How fast this machine is at what limits a run: matrix products, memory and disk."""

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.machine.disk import nearest_folder

if TYPE_CHECKING:
    import torch

_ROWS = 512
_BUFFER_BYTES = 256 * 1024 * 1024
_FILE_BYTES = 16 * 1024 * 1024
_REPEATS = 5


Clock = Callable[[], float]
"""`time.perf_counter`, or `time.process_time` to ignore other load (with one thread only)."""


def best_s(
    act: Callable[[], object], repeats: int = _REPEATS, *, clock: Clock = time.perf_counter
) -> float:
    """The shortest time of some calls, in seconds, after one call to warm up."""
    act()
    times = []
    for _ in range(repeats):
        started = clock()
        act()
        times.append(clock() - started)
    return min(times)


def product_rate(
    width: int, out: int, dtype: "torch.dtype", *, clock: Clock = time.perf_counter
) -> float:
    """Floating-point operations per second of a product of 512 rows with an (out, width) weight."""
    import torch
    from torch.nn import functional

    rows = torch.randn(_ROWS, width).to(dtype)
    weight = torch.randn(out, width).to(dtype)
    with torch.inference_mode():
        seconds = best_s(lambda: functional.linear(rows, weight), 3, clock=clock)
    return 2.0 * _ROWS * width * out / seconds


def memory_rate(*, clock: Clock = time.perf_counter) -> float:
    """Bytes per second that all threads together read from a buffer larger than the caches."""
    import torch

    buffer = torch.ones(_BUFFER_BYTES // 4, dtype=torch.float32)
    with torch.inference_mode():
        return _BUFFER_BYTES / best_s(buffer.sum, clock=clock)


def disk_rate(folder: Path) -> float:
    """Bytes per second of writing, syncing, and reading back with a hash, as for a checkpoint.

    Uses a temporary file in the nearest folder that exists.
    """
    path = nearest_folder(folder) / f".tmp-plan-{uuid.uuid4().hex[:8]}"
    data = os.urandom(_FILE_BYTES)
    started = time.perf_counter()
    try:
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
    finally:
        path.unlink(missing_ok=True)
    return _FILE_BYTES / (time.perf_counter() - started)
