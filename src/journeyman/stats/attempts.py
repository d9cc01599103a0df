"""Several attempts at one task: the chance that one of k, or that all of k, are right."""

import math


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate that at least one of k attempts is right, from n of which some were.

    1 - C(n - c, k) / C(n, k); 1 <= k <= n. (Chen et al. 2021, arXiv 2107.03374.)
    """
    _require(n, correct, k)
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def all_of_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate that all of k attempts are right ("pass^k"): what an agent relies on.

    C(c, k) / C(n, k); 1 <= k <= n. (Yao et al. 2024, arXiv 2406.12045.)
    """
    _require(n, correct, k)
    return math.comb(correct, k) / math.comb(n, k)


def _require(n: int, correct: int, k: int) -> None:
    if not (1 <= k <= n and 0 <= correct <= n):
        raise ValueError(f"{k} of {n} attempts with {correct} right cannot be")
