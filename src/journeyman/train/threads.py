"""The thread count for the length of a run or of its forecast."""

import contextlib
from collections.abc import Iterator


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
