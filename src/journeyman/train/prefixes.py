"""Common beginnings of rows: how long they are, and micro-batches that keep them together."""

import itertools
from collections.abc import Sequence

from journeyman.settings import TrainSettings
from journeyman.train.batches import Batches, Divide, by_length
from journeyman.train.rows import TokenRow

# Each branch costs two more calls of attention; a shorter common prefix is cheaper computed twice.
LEAST_SHARED_TOKENS = 16


def shared_tokens(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common prefix."""
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return at
    return min(len(left), len(right))


def division(rows: Sequence[TokenRow], settings: TrainSettings) -> Divide:
    """How the rows of a step become micro-batches: packs for the fast engine, pairs for the other.

    Settings are resolved: the engine is known.
    """
    if settings.engine == "fast":
        return lambda indices: by_prefix(indices, rows, tokens=settings.micro_batch_tokens)
    lengths = [len(row.ids) for row in rows]
    return lambda indices: by_length(indices, lengths, batch_size=settings.batch_size)


def by_prefix(indices: Sequence[int], rows: Sequence[TokenRow], *, tokens: int) -> Batches:
    """Packs of about equal size and at most `tokens`, one row at least; rows that begin alike meet.

    In the order of their ids, each row adds what it does not share with the one before.
    """
    ordered = sorted(indices, key=lambda index: (rows[index].ids, index))
    added = [len(rows[ordered[0]].ids)]
    for before, index in itertools.pairwise(ordered):
        shared = shared_tokens(rows[before].ids, rows[index].ids)
        own = len(rows[index].ids)
        added.append(own - shared if shared >= LEAST_SHARED_TOKENS else own)
    # As many packs as are needed, and no small one at the end.
    target = sum(added) / -(-sum(added) // tokens)
    packs: list[list[int]] = []
    size = 0
    for index, extra in zip(ordered, added, strict=True):
        own = len(rows[index].ids)
        fits = packs and size + extra <= tokens and size + extra / 2 <= target
        if fits:
            packs[-1].append(index)
            size += extra
        else:
            packs.append([index])
            size = own
    return tuple(tuple(pack) for pack in packs)
