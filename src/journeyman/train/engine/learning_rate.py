"""The learning rate of each optimiser step."""

# Runs of up to so many steps may have no warm-up.
_SHORT_RUN_STEPS = 10


def warmup_steps(total: int, share: float) -> int:
    """How many of `total` steps are warm-up: the share (0..1), but at least one of more than 10."""
    least = 1 if share > 0 and total > _SHORT_RUN_STEPS else 0
    return min(total, max(least, round(share * total)))


def learning_rate(step: int, total: int, *, peak: float, warmup_share: float) -> float:
    """The rate of step 1..total: linear up to the peak during the warm-up, then linear to 0.

    No step has rate 0: the first has peak / (w + 1), the last peak / (total - w).
    """
    warmup = warmup_steps(total, warmup_share)
    if step <= warmup:
        return peak * step / (warmup + 1)
    return peak * (total - step + 1) / (total - warmup)
