"""Freed memory kept by the allocator for the next micro-batch, in place of fetched anew.

By default glibc gives every array above 32 MiB back to the system once it is freed, and the next
one of its size costs a page fault for each of its pages: 8 % of the processor time of a step
(`docs/experiments.md`).

The thread count for the length of a run or of its forecast.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator

# malloc.h of glibc.
_M_TRIM_THRESHOLD = -1

_M_MMAP_THRESHOLD = -3

_M_MMAP_MAX = -4

_NEVER = -1

# What glibc itself comes to in a process that has freed large arrays (mallopt(3)); once a value
# was set it adjusts none of them.
_USUAL = (
    (_M_MMAP_MAX, 65_536),
    (_M_MMAP_THRESHOLD, 32 * 2**20),
    (_M_TRIM_THRESHOLD, 64 * 2**20),
)


@contextlib.contextmanager
def freed_memory_kept(wanted: bool) -> Iterator[None]:
    """While the block runs, no freed memory goes back to the system; all of it goes at the end.

    Nothing happens where it is not wanted, where the C library is not glibc, and where the user
    has set the allocator up by the environment.
    """
    library = ctypes.CDLL(None)
    if not wanted or not hasattr(library, "mallopt") or _is_set_up():
        yield
        return
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        for name, value in _USUAL:
            library.mallopt(name, value)
        library.malloc_trim(0)


def _is_set_up() -> bool:
    return any(name.startswith("MALLOC_") for name in os.environ) or (
        "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    )


@contextlib.contextmanager
def using_threads(asked: int | None) -> Iterator[int]:
    """So many threads while the block runs; torch's own count is that of the physical cores."""
    import torch

    before = torch.get_num_threads()
    if asked is not None:
        torch.set_num_threads(asked)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
