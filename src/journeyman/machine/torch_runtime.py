"""Settings of the process that torch runs in: the allocator's freed memory, and the thread count.

By default glibc returns every array above 32 MiB to the system when it is freed, and the next array
of that size costs a page fault per page: 8 % of the processor time of a step
(`docs/experiments.md`).
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

# The values that glibc itself adapts to in a process that has freed large arrays (mallopt(3)).
# After one of them was set, glibc adapts none of them.
_ADAPTED = (
    (_M_MMAP_MAX, 65_536),
    (_M_MMAP_THRESHOLD, 32 * 2**20),
    (_M_TRIM_THRESHOLD, 64 * 2**20),
)


@contextlib.contextmanager
def freed_memory_kept(wanted: bool) -> Iterator[None]:
    """Keep freed memory for reuse while the block runs, and return all of it at the end.

    Does nothing if it is not wanted, if the C library is not glibc, or if the user has configured
    the allocator in the environment.
    """
    library = ctypes.CDLL(None)
    if not wanted or not hasattr(library, "mallopt") or _is_configured():
        yield
        return
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        for name, value in _ADAPTED:
            library.mallopt(name, value)
        library.malloc_trim(0)


def _is_configured() -> bool:
    return any(name.startswith("MALLOC_") for name in os.environ) or (
        "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    )


@contextlib.contextmanager
def using_threads(threads: int | None) -> Iterator[int]:
    """Set torch's number of threads while the block runs; None keeps torch's own choice.

    torch chooses the number of physical cores. Gives the number in use.
    """
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
