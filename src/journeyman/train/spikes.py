"""Losses that stand out: worth a warning and a mark, never a reason to stop.

The rule is OLMo-core's for skipping a step (6 standard deviations over 128 steps; its
`SkipStepOptimizer`), used to warn only: short runs never fill such a window.
"""

import statistics
from collections.abc import Sequence

from journeyman.events import Caution

WINDOW_STEPS = 128
DEVIATIONS = 6.0
LEAST_STEPS = 8


def is_spike(loss: float, before: Sequence[float]) -> bool:
    """Whether a loss is 6 standard deviations above the mean of up to 128 steps before it.

    Never among fewer than 8 steps: their deviation says too little.
    """
    window = before[-WINDOW_STEPS:]
    if len(window) < LEAST_STEPS:
        return False
    return loss > statistics.fmean(window) + DEVIATIONS * statistics.stdev(window)


def spike_caution(step: int, loss: float) -> Caution:
    """What the user is told about a spike."""
    return Caution(
        f"loss {loss:.3f} of step {step} is more than {DEVIATIONS:.0f} standard deviations above "
        "the steps before it; training goes on",
        hint="one such step is often one strange row; if losses stay high, lower --lr",
    )
