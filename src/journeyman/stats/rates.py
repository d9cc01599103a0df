"""Single rates: k of n, with intervals, bounds, and the n that a claim needs.

Also: the chance that one or all of several attempts at a task are right, and the confidence of
bounds when the same test rows are used again.
"""

import math
from statistics import NormalDist

from journeyman.records import Interval

ALPHA = 0.05
"""The error allowed to a one-sided bound the first time test rows are used."""

CONFIDENCE = 1 - ALPHA


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
        raise ValueError(f"a target share must be between 0 and 1, not {target}")

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
        raise ValueError(f"{k} of {n} is not a share")


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate that at least one of k attempts is right, from n with `correct` right.

    1 - C(n - c, k) / C(n, k); 1 <= k <= n. (Chen et al. 2021, arXiv 2107.03374.)
    """
    _require_attempts(n, correct, k)
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def all_of_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate that all of k attempts are right ("pass^k"): what an agent relies on.

    C(c, k) / C(n, k); 1 <= k <= n. (Yao et al. 2024, arXiv 2406.12045.)
    """
    _require_attempts(n, correct, k)
    return math.comb(correct, k) / math.comb(n, k)


def _require_attempts(n: int, correct: int, k: int) -> None:
    if not (1 <= k <= n and 0 <= correct <= n):
        raise ValueError(f"impossible counts: {k} of {n} attempts with {correct} right")


def alpha_at_use(use: int, alpha: float = ALPHA) -> float:
    """The error allowed to a one-sided bound at the n-th use of one test set; use >= 1.

    0.05, 0.025, 0.0125, ...: a model that is chosen by its score on the same tasks has had as many
    chances as there were uses. The sum over all uses stays below 2 alpha (Bonferroni's bound with
    weights halved each time; alpha spending: Lan & DeMets 1983, Biometrika 70:659).
    """
    if use < 1:
        raise ValueError(f"uses of a test set are counted from 1, not {use}")
    return float(alpha / 2 ** (use - 1))
