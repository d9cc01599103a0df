"""A text as the set of its pieces of five characters, and how much two texts share.

A piece is a 64-bit hash: two different pieces are equal once in 10**19.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shingles = NDArray[np.uint64]

LENGTH = 5
_FACTOR = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def pieces(text: str) -> "Shingles":
    """The hashes of a text's pieces as they come, with repeats. A shorter text is one piece.

    (Rolling polynomial over code points; finalizer of SplitMix64, Steele et al., OOPSLA 2014.)
    """
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    points += np.uint64(1)
    width = min(LENGTH, max(1, len(points)))
    count = max(0, len(points) - width + 1)
    hashes = points[:count].copy()
    for offset in range(1, width):
        hashes *= np.uint64(_FACTOR)
        hashes += points[offset : offset + count]
    for shift, factor in zip((30, 27), _MIX, strict=True):
        hashes ^= hashes >> np.uint64(shift)
        hashes *= np.uint64(factor)
    hashes ^= hashes >> np.uint64(31)
    return hashes


def pieces_of_all(texts: Sequence[str]) -> tuple["Shingles", "NDArray[np.uint64]"]:
    """The pieces of many texts, one after the other, and where those of each begin and end.

    Gives hashes (N,) and offsets (len(texts) + 1,). The same as `pieces` of each, at once.
    """
    if any(len(text) < LENGTH for text in texts):
        sets = [pieces(text) for text in texts]
        return np.concatenate(sets), np.cumsum([0, *map(len, sets)], dtype=np.uint64)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    hashes = pieces("".join(texts))
    # The last four places of a text begin pieces that reach into the next one.
    within = np.ones(len(hashes), dtype=bool)
    ends = np.cumsum(lengths)[:-1]
    for back in range(1, LENGTH):
        within[ends - back] = False
    return hashes[within], np.cumsum([0, *(lengths - LENGTH + 1)], dtype=np.uint64)


def shingles(text: str) -> "Shingles":
    """The hashes of a text's pieces, each once, sorted."""
    ordered = np.sort(pieces(text))
    # np.unique is slower here: since numpy 2.3 it hashes.
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]]


def jaccard(one: "Shingles", other: "Shingles") -> float:
    """The share of common pieces among all, 0..1; two empty texts are equal."""
    together = len(one) + len(other)
    if not together:
        return 1.0
    both = np.concatenate((one, other))
    both.sort()
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    return common / (together - common)
