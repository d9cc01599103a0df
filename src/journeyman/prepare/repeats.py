"""Which keys occur more than once, and where."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def repeats(keys: "NDArray[np.generic]") -> Iterator[list[int]]:
    """The positions of each key that occurs more than once, in order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(ordered))
    for run in np.flatnonzero(ends - starts > 1):
        yield order[starts[run] : ends[run]].tolist()
