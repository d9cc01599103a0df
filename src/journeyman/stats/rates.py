"""Single rates: k of n, with intervals, bounds, and the n that a claim needs."""

import math
from statistics import NormalDist

from journeyman.records import Interval
from journeyman.stats.levels import CONFIDENCE


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


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """A share with its exact two-sided interval; n >= 1. (Clopper & Pearson 1934.)

    It covers the true share at least as often as promised, for every n and share.
    """
    one_sided = (1 + confidence) / 2
    return Interval(
        k=k,
        n=n,
        share=k / n,
        low=clopper_pearson_lower(k, n, one_sided),
        high=clopper_pearson_upper(k, n, one_sided),
        method="clopper-pearson",
    )


def needed_n(target: float, *, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Fewest trials whose one-sided lower bound reaches `target` (0..1, open) with these failures.

    The smallest n with P(at most `failures` failures | n, target) <= 1 - confidence.
    """
    if not 0 < target < 1:
        raise ValueError(f"a target share lies between 0 and 1, not {target}")

    def proven(n: int) -> bool:
        return binomial_tail(failures, n, 1 - target) <= 1 - confidence

    low, high = failures, failures + 1
    while not proven(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proven(middle) else (middle, high)
    return high


def binomial_tail(k: int, n: int, share: float) -> float:
    """P(X <= k) for n trials with this share; logarithms keep it finite for n in the millions."""
    log_share, log_rest = math.log(share), math.log1p(-share)
    return math.fsum(
        math.exp(
            math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
            + i * log_share + (n - i) * log_rest
        )
        for i in range(min(k, n) + 1)
    )  # fmt: skip


def _require_counts(k: int, n: int) -> None:
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no share")
