"""Intervals and tests for small numbers: rates, paired differences and means.

Covered: single rates, paired rates, means of clustered values, and the n that a claim needs.
Not covered: power, sequential tests, corrections for looking twice.
All shares are 0..1. `confidence` is two-sided for intervals and one-sided for bounds.
"""

import math
import random
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist

from msgspec import Struct

from journeyman.records import Interval

CONFIDENCE = 0.95


class Difference(Struct, frozen=True):
    """Difference of two paired shares (second minus first) with its interval, each -1..1."""

    difference: float
    low: float
    high: float


class Mean(Struct, frozen=True):
    """A mean of n values in `clusters` independent groups, with the bounds of its interval.

    `low` and `high` are two-sided 95 %, `lower` and `upper` one-sided 95 %; all four are None
    where fewer than two clusters leave the spread unknown.
    """

    mean: float
    n: int
    clusters: int
    low: float | None
    high: float | None
    lower: float | None
    upper: float | None


def wilson(k: int, n: int) -> Interval:
    """A share with its two-sided 95 % interval; n >= 1. (Wilson 1927, JASA 22:209.)"""
    _require_counts(k, n)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    share = k / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # The formula touches 0 and 1 exactly at k = 0 and k = n; rounding must not step over them.
    low = 0.0 if k == 0 else centre - half
    high = 1.0 if k == n else centre + half
    return Interval(k=k, n=n, share=share, low=low, high=high)


def clopper_pearson_lower(k: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided lower bound of a share; n >= 1. (Clopper & Pearson 1934, Biometrika 26.)

    At k = n it is (1 - confidence) ** (1/n): the best that n trials can prove.
    """
    from scipy.special import betaincinv

    _require_counts(k, n)
    return 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 1 - confidence))


def clopper_pearson_upper(k: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided upper bound of a share; n >= 1. (Clopper & Pearson 1934.)"""
    return 1 - clopper_pearson_lower(n - k, n, confidence)


def needed_n(target: float, *, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Fewest trials whose one-sided lower bound reaches `target` (0..1, open) with these failures.

    The smallest n with P(at most `failures` failures | n, target) <= 1 - confidence.
    """
    if not 0 < target < 1:
        raise ValueError(f"a target share lies between 0 and 1, not {target}")

    def proven(n: int) -> bool:
        return _binomial_tail(failures, n, 1 - target) <= 1 - confidence

    low, high = failures, failures + 1
    while not proven(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proven(middle) else (middle, high)
    return high


def _binomial_tail(k: int, n: int, share: float) -> float:
    """P(X <= k) for n trials with this share; logarithms keep it finite for n in the millions."""
    log_share, log_rest = math.log(share), math.log1p(-share)
    return math.fsum(
        math.exp(
            math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
            + i * log_share + (n - i) * log_rest
        )
        for i in range(min(k, n) + 1)
    )  # fmt: skip


def mcnemar_exact(fixed: int, broken: int) -> float:
    """Two-sided p that `fixed` and `broken` pairs come from a fair coin. (McNemar 1947; exact.)"""
    pairs = fixed + broken
    tail = sum(math.comb(pairs, i) for i in range(min(fixed, broken) + 1))
    return min(1.0, float(2 * tail / 2**pairs))


def tango_interval(
    fixed: int, broken: int, n: int, *, confidence: float = CONFIDENCE
) -> Difference:
    """Score interval of (fixed - broken) / n over n pairs; n >= 1. (Tango 1998, Stat Med 17:891.)

    It stays honest with no discordant pair at all. A one-sided bound at level 1 - a is the end of
    the two-sided interval at confidence 1 - 2a.
    """
    if min(fixed, broken) < 0 or fixed + broken > n or n < 1:
        raise ValueError(f"{fixed} fixed and {broken} broken do not fit into {n} pairs")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    estimate = (fixed - broken) / n
    return Difference(
        difference=estimate,
        low=_crossing(lambda delta: _tango_score(fixed, broken, n, delta) <= z, -1.0, estimate),
        high=_crossing(lambda delta: _tango_score(fixed, broken, n, delta) <= -z, estimate, 1.0),
    )


def _tango_score(fixed: int, broken: int, n: int, delta: float) -> float:
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
    """Where a condition that is false on the left becomes true, by bisection."""
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def bootstrap_mean(
    values: Sequence[float],
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
) -> Mean:
    """The mean with a percentile bootstrap interval; whole clusters are drawn, n >= 1.

    clusters: one label a value; values with the same label depend on each other.
    Each bound is the outer one of bootstrap and Student's t with clusters - 1 degrees of freedom,
    because the percentile bootstrap is too narrow below some 30 clusters.
    (Efron 1979, Ann Stat 7:1; clusters: Miller 2024, arXiv 2411.00640.)
    """
    groups = _by_cluster(values, clusters)
    mean = math.fsum(values) / len(values)
    if len(groups) < 2:
        return Mean(mean, len(values), len(groups), low=None, high=None, lower=None, upper=None)
    generator = random.Random(seed)  # noqa: S311 - statistics, not secrets
    means = []
    for _ in range(draws):
        drawn = generator.choices(groups, k=len(groups))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    two_sided, one_sided = _t_half_widths(groups, mean)
    return Mean(
        mean=mean,
        n=len(values),
        clusters=len(groups),
        low=min(quantile(means, 0.025), mean - two_sided),
        high=max(quantile(means, 0.975), mean + two_sided),
        lower=min(quantile(means, 0.05), mean - one_sided),
        upper=max(quantile(means, 0.95), mean + one_sided),
    )


def _by_cluster(
    values: Sequence[float], clusters: Sequence[Hashable] | None
) -> list[tuple[float, int]]:
    """(sum, count) of each cluster, in order of first appearance."""
    if not values:
        raise ValueError("a mean needs at least one value")
    found: dict[Hashable, tuple[float, int]] = {}
    for label, value in zip(clusters or range(len(values)), values, strict=True):
        total, count = found.get(label, (0.0, 0))
        found[label] = (total + value, count + 1)
    return list(found.values())


def _t_half_widths(groups: Sequence[tuple[float, int]], mean: float) -> tuple[float, float]:
    """Half-widths (two-sided 95 %, one-sided 95 %) from the cluster-robust standard error."""
    from scipy.special import stdtrit

    number, count = len(groups), sum(size for _, size in groups)
    squares = math.fsum((total - size * mean) ** 2 for total, size in groups)
    error = math.sqrt(number / (number - 1) * squares) / count
    return float(stdtrit(number - 1, 0.975)) * error, float(stdtrit(number - 1, 0.95)) * error


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of them lie, between neighbours linearly (type 7)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _require_counts(k: int, n: int) -> None:
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")
