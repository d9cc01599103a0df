"""Power: how likely a test is to find a true effect, and how many tasks that takes.

Exact if that is quick (sums over all outcomes), else the normal approximation; each one says which.
"""

import itertools
import math
from statistics import NormalDist

from journeyman.stats.pairs import tango_score
from journeyman.stats.rates import CONFIDENCE, binomial_tail, needed_n

POWER = 0.8
_UNLIKELY = 1e-12


def power_of_rate(true: float, target: float, n: int, confidence: float = CONFIDENCE) -> float:
    """The chance that n trials at a true share prove `target` by Clopper-Pearson's bound; exact."""
    allowed = -1
    while needed_n(target, failures=allowed + 1, confidence=confidence) <= n:
        allowed += 1
    return 0.0 if allowed < 0 else binomial_tail(allowed, n, 1 - true)


def needed_n_for_power(
    true: float, target: float, *, power: float = POWER, confidence: float = CONFIDENCE
) -> int:
    """Fewest trials that prove `target` with this power if the true share is `true` > target.

    Power rises only when one more failure is allowed, so only those n are tried; exact.
    """
    if not target < true < 1:
        raise ValueError(f"a true share of {true} never proves {target}: it must be higher")
    for failures in itertools.count():
        n = needed_n(target, failures=failures, confidence=confidence)
        if binomial_tail(failures, n, 1 - true) >= power:
            return n
    raise AssertionError("itertools.count ended")


def power_of_pairs(
    n: int, fixed: float, broken: float, bound: float, confidence: float = CONFIDENCE
) -> float:
    """The chance that Tango's one-sided lower bound over n pairs lies above `bound` (-1..1).

    fixed, broken: true shares of pairs that only the second, or only the first, passes. Exact: the
    sum of the trinomial over every outcome that proves it.
    """
    z = NormalDist().inv_cdf(confidence)
    total = 0.0
    for better in range(n + 1):
        if _binomial(better, n, fixed) < _UNLIKELY:
            continue
        for worse in range(n - better + 1):
            chance = _trinomial(better, worse, n, fixed, broken)
            if chance > _UNLIKELY and tango_score(better, worse, n, bound) > z:
                total += chance
    return total


def needed_pairs(
    discordant: float, distance: float, *, power: float = POWER, confidence: float = CONFIDENCE
) -> int:
    """About how many pairs put the lower bound `distance` (0..1) below the true difference.

    discordant: share of pairs that differ. (z_a + z_b)^2 psi / d^2: the normal
    approximation with the variance under no difference. (Connor 1987, Biometrics 43:207, eq. 1.)
    """
    if not 0 < distance < 1 or not 0 < discordant <= 1:
        raise ValueError(f"no n for {discordant} discordant pairs and a distance of {distance}")
    normal = NormalDist()
    return math.ceil(
        (normal.inv_cdf(confidence) + normal.inv_cdf(power)) ** 2 * discordant / distance**2
    )


def provable_gain(
    n: int, discordant: float, *, power: float = POWER, confidence: float = (1 + CONFIDENCE) / 2
) -> float:
    """The smallest true difference that n pairs will probably show; two-sided 95 % by default.

    The inverse of `needed_pairs`; n >= 1.
    """
    normal = NormalDist()
    z = normal.inv_cdf(confidence) + normal.inv_cdf(power)
    return z * math.sqrt(discordant / n)


def _binomial(k: int, n: int, share: float) -> float:
    return _trinomial(k, 0, n, share, 0.0)


def _trinomial(first: int, second: int, n: int, one: float, two: float) -> float:
    """Chance of `first` and `second` of n, at shares `one` and `two`; 0 ** 0 is 1."""
    rest, left = n - first - second, 1 - one - two
    log = math.lgamma(n + 1)
    for count, share in ((first, one), (second, two), (rest, left)):
        if share <= 0:
            if count:
                return 0.0
            continue
        log += count * math.log(share) - math.lgamma(count + 1)
    return math.exp(log)
