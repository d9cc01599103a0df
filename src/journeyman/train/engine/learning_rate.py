"""The learning rate of each optimiser step."""

_SHORT_RUN = 10


def warmup_steps(total: int, share: float) -> int:
    """How many of `total` steps warm up: the share (0..1), but one at least in a run of over 10."""
    least = 1 if share > 0 and total > _SHORT_RUN else 0
    return min(total, max(least, round(share * total)))


def learning_rate(step: int, total: int, *, peak: float, warmup_share: float) -> float:
    """Rate of step 1..total: linear to the peak, reached after the warm-up, then linear to 0.

    No step has rate 0: the first takes peak / (w + 1), the last peak / (total - w).
    """
    warmup = warmup_steps(total, warmup_share)
    if step <= warmup:
        return peak * step / (warmup + 1)
    return peak * (total - step + 1) / (total - warmup)
