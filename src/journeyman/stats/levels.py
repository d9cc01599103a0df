"""How sure is sure: the confidence of bounds, and what another look at the same tasks costs."""

ALPHA = 0.05
"""The error that a one-sided bound is allowed at the first look."""
CONFIDENCE = 1 - ALPHA


def alpha_at_look(look: int, alpha: float = ALPHA) -> float:
    """The error allowed to a one-sided bound at the n-th look at one test set; look >= 1.

    0.05, 0.025, 0.0125, ...: a model that is chosen by its score on the same tasks has had as many
    chances as there were looks. The sum over all looks stays below 2 alpha (Bonferroni's bound with
    weights halved each time; alpha spending: Lan & DeMets 1983, Biometrika 70:659).
    """
    if look < 1:
        raise ValueError(f"looks are counted from 1, not {look}")
    return float(alpha / 2 ** (look - 1))
