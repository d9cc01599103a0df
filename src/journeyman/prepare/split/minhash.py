"""Pairs of texts that share 0.8 of their pieces: all of them, or those that MinHash proposes.

exact: every pair of similar size, most of them ruled out by a bitmap of 2,048 bits: two sets whose
bitmaps differ in d bits share at most (|x| + |y| - d) / 2 pieces. (Sandes et al., TKDE 2020.)
proposed: rensa's MinHash in bands of six; texts with an equal band are compared, first by their
signatures' low bytes (Li and Koenig, WWW 2010), then exactly. (Broder 1997.)

A text as the set of its pieces of five characters, and how much two texts share.

A piece is a 64-bit hash: two different pieces are equal once in 10**19.

Things that belong together, joined pair by pair. (Union by size, path halving; Tarjan 1975.)
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shingles = NDArray[np.uint64]

SHARE = 0.8
"""Of 90 characters, one word of six may differ."""

_BITS = 2048

# 21 bands of 6: a pair at 0.8 meets in one with 0.998, at 0.9 always, at 0.3 once in 66.
_BANDS, _ROWS = 21, 6

_SIGNATURE = _BANDS * _ROWS

_SEED = 1

_BATCH = 2000

_REPRESENTATIVES = 4

# Four standard deviations of the estimate below 0.8: sqrt(0.8 * 0.2 / 126) is 0.036.
_PROMISING = 0.65


def exact_pairs(sets: Sequence["Shingles"]) -> Iterator[tuple[int, int]]:
    """Every pair of positions whose sets have a Jaccard of at least `SHARE`, each once."""
    sizes = np.array([len(one) for one in sets], dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    sizes = sizes[order]
    maps = np.stack([_bitmap(sets[at]) for at in order]) if len(sets) else np.empty((0, 0))
    # Sets that differ more in size than this share too little, whatever they hold.
    ends = np.searchsorted(sizes, sizes / SHARE + 1e-9, side="right")
    for place in range(len(order)):
        others = slice(place + 1, int(ends[place]))
        differing = np.bitwise_count(maps[others] ^ maps[place]).sum(axis=1, dtype=np.int64)
        together = sizes[others] + sizes[place]
        needed = together * (SHARE / (1 + SHARE)) - 1e-6
        for at in np.flatnonzero((together - differing) / 2 >= needed):
            one, other = int(order[place]), int(order[place + 1 + at])
            if _alike(sets[one], sets[other]):
                yield one, other


def _bitmap(one: "Shingles") -> "NDArray[np.uint64]":
    bits = np.zeros(_BITS, dtype=np.uint8)
    bits[one % np.uint64(_BITS)] = 1
    return np.packbits(bits).view(np.uint64)


def _alike(one: "Shingles", other: "Shingles") -> bool:
    return jaccard(one, other) >= SHARE - 1e-9


def _runs(keys: "NDArray[np.generic]", owners: "NDArray[np.int64]") -> Iterator[list[int]]:
    """The owners of each key that has more than one, in the order they came."""
    order = np.argsort(keys, kind="stable")
    keys, owners = keys[order], owners[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    ends = np.append(starts[1:], len(keys))
    for run in np.flatnonzero(ends - starts > 1):
        yield owners[starts[run] : ends[run]].tolist()


class Union:
    """Groups of the numbers 0 to before `count`; at first each one is alone."""

    def __init__(self, count: int) -> None:
        self._parent = array("q", range(count))
        self._size = array("q", [1]) * count

    def root(self, one: int) -> int:
        """A number that is equal for all members of a group."""
        parent = self._parent
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    def join(self, one: int, other: int) -> None:
        """Make two groups one."""
        one, other = self.root(one), self.root(other)
        if one == other:
            return
        if self._size[one] < self._size[other]:
            one, other = other, one
        self._parent[other] = one
        self._size[one] += self._size[other]


def proposed_groups(count: int, text_of: Callable[[int], str], union: Union) -> None:
    """Join the positions 0 to before `count` that are near, as far as MinHash proposes them.

    In a band each text is compared with at most four groups that stand there already, so that one
    phrase which everybody uses does not make every pair meet.
    """
    bands, sketches = _signatures(count, text_of)
    for band in bands:
        for run in _runs(band, np.arange(count)):
            _join_near(run, sketches, text_of, union)


def _join_near(
    run: list[int],
    sketches: "NDArray[np.uint8]",
    text_of: Callable[[int], str],
    union: Union,
) -> None:
    standing: list[int] = []
    for one in run:
        roots = {union.root(other) for other in standing}
        if union.root(one) in roots:
            continue
        for other in standing:
            if _promising(sketches[one], sketches[other]) and _alike(
                shingles(text_of(one)), shingles(text_of(other))
            ):
                union.join(one, other)
                break
        else:
            if len(standing) < _REPRESENTATIVES:
                standing.append(one)


def _promising(one: "NDArray[np.uint8]", other: "NDArray[np.uint8]") -> bool:
    equal = int(np.count_nonzero(one == other)) / _SIGNATURE
    # One low byte in 256 is equal by chance.
    return (equal - 1 / 256) / (1 - 1 / 256) >= _PROMISING


def _signatures(
    count: int, text_of: Callable[[int], str]
) -> tuple["NDArray[np.uint32]", "NDArray[np.uint8]"]:
    """A hash for each band and text (bands, count), and the signatures' low bytes (count, 126)."""
    from rensa import RMinHash

    bands = np.empty((_BANDS, count), dtype=np.uint32)
    sketches = np.empty((count, _SIGNATURE), dtype=np.uint8)
    factors = np.array([2654435761 * (2 * row + 1) % 2**32 | 1 for row in range(_ROWS)], np.uint64)
    for start in range(0, count, _BATCH):
        stop = min(count, start + _BATCH)
        hashes, offsets = pieces_of_all([text_of(at) for at in range(start, stop)])
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, _SIGNATURE, _SEED)
        rows = np.array(matrix.to_rows(), dtype=np.uint64)
        sketches[start:stop] = rows & np.uint64(255)
        mixed = (rows.reshape(stop - start, _BANDS, _ROWS) * factors).sum(axis=2)
        bands[:, start:stop] = ((mixed ^ (mixed >> np.uint64(32))) & np.uint64(0xFFFFFFFF)).T
    return bands, sketches


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
