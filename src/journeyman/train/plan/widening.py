"""What products cost more that a calibration keeps wide, timed beside the narrow ones."""

import time
from collections import Counter
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from journeyman.settings import TrainSettings
from journeyman.train.arithmetic import arithmetic_for
from journeyman.train.fast.elementwise import Elementwise
from journeyman.train.fast.narrowing import Narrowing, group_of
from journeyman.train.fast.products import Arithmetic, frozen_product
from journeyman.train.fast.shape import HEAD, shape_of
from journeyman.train.plan.rates import Clock, best_s

_ROWS = 400
_LIMIT_BYTES = 300_000_000


def widening_s(
    config: Any, settings: TrainSettings, narrowing: Narrowing, *, clock: Clock = time.perf_counter
) -> float:
    """Seconds of a token forward; backward they are as they were. Without the output layer.

    A large product is cut, so that it takes no more memory than the rest of the probe.
    """
    counts = Counter(group_of(name) for name in narrowing.wide if name != HEAD)
    shape, arithmetic, total = shape_of(config), arithmetic_for(settings), 0.0
    for group, count in counts.items():
        inputs, outputs = shape.product_sizes[group]
        cut = min(outputs, _LIMIT_BYTES // (torch.float32.itemsize * inputs))
        weight = torch.randn(cut, inputs).mul_(0.02)
        states = torch.randn(_ROWS, inputs).to(arithmetic.activations)
        narrow = arithmetic.of(group)
        wide = replace(narrow, forward=narrow.wide_method, backward=narrow.wide_method)
        wide_s, narrow_s = (_forward_s(weight, states, how, clock) for how in (wide, narrow))
        total += count * max(0.0, wide_s - narrow_s) * outputs / cut / _ROWS
    return total


def _forward_s(weight: Tensor, states: Tensor, how: Arithmetic, clock: Clock) -> float:
    product = frozen_product([weight], None, how, Elementwise())
    with torch.inference_mode():
        return best_s(lambda: product.forward(states), 3, clock=clock)
