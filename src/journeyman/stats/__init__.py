"""Intervals and tests for small numbers: rates, paired differences, means, attempts, power.

Each formula names its source; `docs/evaluation.md` says which one decides what. All shares are
0..1. `confidence` is two-sided for intervals and one-sided for bounds.
Not covered: sequential tests (another use of the same tasks has its price by `alpha_at_use`
instead), and corrections for many criteria (all of them must hold, which needs none).
"""

from journeyman.stats.means import Mean, bootstrap_mean, quantile
from journeyman.stats.pairs import PairedDifference, mcnemar_exact, tango_interval
from journeyman.stats.power import (
    needed_n_for_power,
    needed_pairs,
    power_of_pairs,
    power_of_rate,
    provable_gain,
)
from journeyman.stats.rates import (
    ALPHA,
    CONFIDENCE,
    all_of_k,
    alpha_at_use,
    clopper_pearson_lower,
    clopper_pearson_upper,
    needed_n,
    pass_at_k,
    wilson,
)

__all__ = [
    "ALPHA",
    "CONFIDENCE",
    "Mean",
    "PairedDifference",
    "all_of_k",
    "alpha_at_use",
    "bootstrap_mean",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "mcnemar_exact",
    "needed_n",
    "needed_n_for_power",
    "needed_pairs",
    "pass_at_k",
    "power_of_pairs",
    "power_of_rate",
    "provable_gain",
    "quantile",
    "tango_interval",
    "wilson",
]
