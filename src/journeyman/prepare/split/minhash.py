"""Pairs of texts that share 0.8 of their pieces: all pairs, or those that MinHash proposes.

A text is the set of its pieces of five characters. A piece is a 64-bit hash: two different pieces
are equal once in 10**19.
All pairs: every pair of similar size is compared, but a bitmap of 2,048 bits rules most of them
out: two sets whose bitmaps differ in d bits share at most (|x| + |y| - d) / 2 pieces. (Sandes et
al., TKDE 2020.)
Proposed: rensa's MinHash in bands of six. Texts with an equal band are compared, first by the low
bytes of their signatures (Li and Koenig, WWW 2010), then exactly. (Broder 1997.)
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from journeyman.prepare.repeats import repeats
from journeyman.prepare.split.union_find import UnionFind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shingles = NDArray[np.uint64]

SHARE = 0.8
"""In a text of 90 characters, one word of six may differ."""

_BITS = 2048

# 21 bands of 6: a pair at 0.8 shares a band with probability 0.998, at 0.9 always, at 0.3 in 1/66.
_BANDS, _ROWS = 21, 6

_SIGNATURE = _BANDS * _ROWS

_SEED = 1

_BATCH = 2000

_REPRESENTATIVES = 4

# Four standard deviations of the estimate below 0.8: sqrt(0.8 * 0.2 / 126) is 0.036.
_PROMISING = 0.65


def exact_pairs(sets: Sequence["Shingles"]) -> Iterator[tuple[int, int]]:
    """Every pair of positions whose sets have a Jaccard index of at least `SHARE`, once."""
    sizes = np.array([len(one) for one in sets], dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    sizes = sizes[order]
    maps = np.stack([_bitmap(sets[at]) for at in order]) if len(sets) else np.empty((0, 0))
    # Sets that differ more in size share too little in any case.
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


def proposed_groups(count: int, text_of: Callable[[int], str], groups: UnionFind) -> None:
    """Join the positions from 0 to before `count` whose texts are near, as MinHash proposes them.

    In a band each text is compared with at most four groups, so that a phrase that all texts share
    does not cost a comparison of every pair.
    """
    bands, sketches = _signatures(count, text_of)
    for band in bands:
        for run in repeats(band):
            _join_near(run, sketches, text_of, groups)


def _join_near(
    run: list[int],
    sketches: "NDArray[np.uint8]",
    text_of: Callable[[int], str],
    groups: UnionFind,
) -> None:
    representatives: list[int] = []
    for one in run:
        roots = {groups.root(other) for other in representatives}
        if groups.root(one) in roots:
            continue
        for other in representatives:
            if _promising(sketches[one], sketches[other]) and _alike(
                shingles(text_of(one)), shingles(text_of(other))
            ):
                groups.join(one, other)
                break
        else:
            if len(representatives) < _REPRESENTATIVES:
                representatives.append(one)


def _promising(one: "NDArray[np.uint8]", other: "NDArray[np.uint8]") -> bool:
    equal = int(np.count_nonzero(one == other)) / _SIGNATURE
    # One low byte in 256 is equal by chance.
    return (equal - 1 / 256) / (1 - 1 / 256) >= _PROMISING


def _signatures(
    count: int, text_of: Callable[[int], str]
) -> tuple["NDArray[np.uint32]", "NDArray[np.uint8]"]:
    """A hash of each band and text (bands, count); low bytes of the signatures (count, 126)."""
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
    """The hashes of a text's pieces in order, with repeats. A shorter text is one piece.

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
    """The pieces of many texts one after the other, and where those of each begin and end.

    Gives hashes (N,) and offsets (len(texts) + 1,): the same as `pieces` of each text, but faster.
    """
    if any(len(text) < LENGTH for text in texts):
        sets = [pieces(text) for text in texts]
        return np.concatenate(sets), np.cumsum([0, *map(len, sets)], dtype=np.uint64)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    hashes = pieces("".join(texts))
    # A piece that begins at the last four places of a text reaches into the next text.
    within = np.ones(len(hashes), dtype=bool)
    ends = np.cumsum(lengths)[:-1]
    for back in range(1, LENGTH):
        within[ends - back] = False
    return hashes[within], np.cumsum([0, *(lengths - LENGTH + 1)], dtype=np.uint64)


def shingles(text: str) -> "Shingles":
    """The hashes of a text's pieces, each once, sorted."""
    ordered = np.sort(pieces(text))
    # np.unique is slower: since numpy 2.3 it hashes.
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]]


def jaccard(one: "Shingles", other: "Shingles") -> float:
    """The share of common pieces, 0..1 (Jaccard index); two empty texts are equal."""
    together = len(one) + len(other)
    if not together:
        return 1.0
    both = np.concatenate((one, other))
    both.sort()
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    return common / (together - common)
