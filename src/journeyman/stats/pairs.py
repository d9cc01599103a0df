"""Paired comparison: two models on the same tasks. Only the pairs that differ say anything."""

import math
from collections.abc import Callable
from statistics import NormalDist

from msgspec import Struct

from journeyman.stats.rates import CONFIDENCE


class PairedDifference(Struct, frozen=True):
    """Difference of two paired shares (second minus first) with its interval, each -1..1."""

    difference: float
    low: float
    high: float


def mcnemar_exact(fixed: int, broken: int) -> float:
    """Two-sided p that `fixed` and `broken` pairs come from a fair coin. (McNemar 1947; exact.)"""
    pairs = fixed + broken
    tail = sum(math.comb(pairs, i) for i in range(min(fixed, broken) + 1))
    return min(1.0, float(2 * tail / 2**pairs))


def tango_interval(
    fixed: int, broken: int, n: int, *, confidence: float = CONFIDENCE
) -> PairedDifference:
    """Score interval of (fixed - broken) / n over n pairs; n >= 1. (Tango 1998, Stat Med 17:891.)

    It holds even without any discordant pair. A one-sided bound at level 1 - a is the end of the
    two-sided interval at confidence 1 - 2a.
    """
    if min(fixed, broken) < 0 or fixed + broken > n or n < 1:
        raise ValueError(f"{fixed} fixed and {broken} broken are more than {n} pairs")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    estimate = (fixed - broken) / n
    return PairedDifference(
        difference=estimate,
        low=_crossing(lambda delta: tango_score(fixed, broken, n, delta) <= z, -1.0, estimate),
        high=_crossing(lambda delta: tango_score(fixed, broken, n, delta) <= -z, estimate, 1.0),
    )


def tango_score(fixed: int, broken: int, n: int, delta: float) -> float:
    """Score statistic of the difference `delta`; falls as delta rises."""
    b = (2 * n - fixed + broken) * delta - fixed - broken
    c = -broken * delta * (1 - delta)
    # Maximum-likelihood share of broken pairs, given that the true difference is delta.
    share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * share + delta * (1 - delta))
    distance = fixed - broken - n * delta
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _crossing(reached: Callable[[float], bool], low: float, high: float) -> float:
    """The place at which a condition turns from false to true, by bisection."""
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
