"""Improbably many answers of the same length: the mark of a token limit.

Answers that end on their own differ in length. Answers cut off at N tokens all have N, give or take
what decoding and encoding again changes. Pure arithmetic: lengths in any unit.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from msgspec import Struct

BELOW, ABOVE = 3, 2
"""Encoding the text of N tokens again gives N-3 to N+2: the last token may be half a character, the
end-of-turn token is not in the text, and a few pairs merge differently."""

NEIGHBOURHOOD = 60
LEAST = 5
CHANCE_LOG10 = -9.0
"""Chance explains a spike less often than once in a billion. So strict because several windows are
tried for each vocabulary and group, and an answer wrongly called cut off is not trained to end."""


class Spike(Struct, frozen=True):
    """`hits` of `near` lengths are in `low`..`high`; the probability is 10**chance_log10."""

    low: int
    high: int
    hits: int
    near: int
    chance_log10: float


def spike_at(lengths: Sequence[int], limit: int) -> Spike | None:
    """The spike at a known limit: more lengths in limit-3..limit+2 than the neighbours explain."""
    return _improbable(sorted(lengths), limit - BELOW, limit + ABOVE)


def spike_at_top(lengths: Sequence[int], *, width: int) -> Spike | None:
    """The spike at the longest length, if the log does not say the limit.

    width: how many lengths below the longest belong to it; 0 if the limit cuts exactly.
    """
    ordered = sorted(lengths)
    return _improbable(ordered, ordered[-1] - width, ordered[-1]) if ordered else None


def _improbable(ordered: list[int], low: int, high: int) -> Spike | None:
    """Chernoff's bound for so many lengths in the window if the neighbours were spread evenly."""
    hits = bisect_right(ordered, high) - bisect_left(ordered, low)
    first, last = max(0, low - NEIGHBOURHOOD), high + NEIGHBOURHOOD
    near = bisect_right(ordered, last) - bisect_left(ordered, first)
    even = (high - low + 1) / (last - first + 1)
    if hits < LEAST or hits / near <= even:
        return None
    chance_log10 = -near * _divergence(hits / near, even) / math.log(10)
    return Spike(low, high, hits, near, chance_log10) if chance_log10 <= CHANCE_LOG10 else None


def _divergence(seen: float, expected: float) -> float:
    """Kullback-Leibler divergence of two shares, in nats. 0 < expected < 1."""
    total = seen * math.log(seen / expected) if seen else 0.0
    return total + ((1 - seen) * math.log((1 - seen) / (1 - expected)) if seen < 1 else 0.0)
