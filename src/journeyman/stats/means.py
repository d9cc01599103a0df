"""Means of values that may depend on each other in groups (clusters), and quantiles."""

import math
import random
from collections.abc import Hashable, Sequence

from msgspec import Struct

from journeyman.stats.rates import CONFIDENCE


class Mean(Struct, frozen=True):
    """A mean of n values in `clusters` independent groups, with the bounds of its interval.

    `low` and `high` are two-sided 95 %, `lower` and `upper` one-sided at the confidence that was
    asked for. All four are None with fewer than two clusters: the spread is unknown then.
    """

    mean: float
    n: int
    clusters: int
    low: float | None
    high: float | None
    lower: float | None
    upper: float | None


def bootstrap_mean(
    values: Sequence[float],
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    confidence: float = CONFIDENCE,
) -> Mean:
    """The mean with a percentile bootstrap interval; whole clusters are drawn, n >= 1.

    clusters: one label for each value; values with the same label depend on each other.
    confidence: of the one-sided bounds.
    Each bound is the wider of bootstrap and Student's t with clusters - 1 degrees of freedom,
    because the percentile bootstrap is too narrow with fewer than about 30 clusters.
    (Efron 1979, Ann Stat 7:1; clusters: Miller 2024, arXiv 2411.00640.)
    """
    from scipy.special import stdtrit

    groups = _by_cluster(values, clusters)
    mean = math.fsum(values) / len(values)
    if len(groups) < 2:
        return Mean(mean, len(values), len(groups), low=None, high=None, lower=None, upper=None)
    generator = random.Random(seed)  # noqa: S311 - statistics, not secrets
    means = []
    for _ in range(draws):
        drawn = generator.choices(groups, k=len(groups))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    error = _standard_error(groups, mean)
    two_sided, one_sided = (
        error * float(stdtrit(len(groups) - 1, level))
        for level in ((1 + CONFIDENCE) / 2, confidence)
    )
    return Mean(
        mean=mean,
        n=len(values),
        clusters=len(groups),
        low=min(quantile(means, 0.025), mean - two_sided),
        high=max(quantile(means, 0.975), mean + two_sided),
        lower=min(quantile(means, 1 - confidence), mean - one_sided),
        upper=max(quantile(means, confidence), mean + one_sided),
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


def _standard_error(groups: Sequence[tuple[float, int]], mean: float) -> float:
    """The cluster-robust standard error, with the correction C / (C - 1) for few clusters."""
    number, count = len(groups), sum(size for _, size in groups)
    squares = math.fsum((total - size * mean) ** 2 for total, size in groups)
    return math.sqrt(number / (number - 1) * squares) / count


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of them lie, linear between neighbours (type 7)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
