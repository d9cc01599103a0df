"""Products that a probe times by themselves: the output layer, and what a calibration keeps wide.

A large one is cut, so that it takes no more memory than the rest of the probe.
"""

import time
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from journeyman.kernels.rows import find_rows
from journeyman.settings import TrainSettings
from journeyman.train.arithmetic import arithmetic_for
from journeyman.train.fast.elementwise import Elementwise
from journeyman.train.fast.narrowing import Int8Plan, group_of
from journeyman.train.fast.products import Arithmetic, frozen_product
from journeyman.train.fast.shape import HEAD, shape_of
from journeyman.train.head_loss import CHUNK_BYTES, Head, PlainHead, completion_loss
from journeyman.train.plan.engines import product_dtype
from journeyman.train.plan.rates import Clock, best_s
from journeyman.train.plan.shape import ModelShape

_ROWS = 400
_LIMIT_BYTES = 300_000_000


def output_layer_s(
    shape: ModelShape,
    settings: TrainSettings,
    narrowing: Int8Plan,
    *,
    clock: Clock = time.perf_counter,
) -> tuple[float, float]:
    """Seconds of the output layer and loss for one trained token: with gradient, and without.

    The chunks are cut with the vocabulary, so that they hold as many rows.
    """
    dtype = product_dtype(settings)
    vocabulary = min(shape.vocabulary, _LIMIT_BYTES // (shape.hidden * dtype.itemsize))
    scale = shape.vocabulary / vocabulary
    weight = torch.randn(vocabulary, shape.hidden).mul_(0.02).to(dtype)
    hidden = torch.randn(_ROWS, shape.hidden).to(dtype)
    targets = torch.arange(_ROWS).remainder(vocabulary)
    chunk_bytes = int(CHUNK_BYTES / scale)
    head, kernel = _random_head(settings, weight, narrowing), find_rows()

    def timed(*, with_gradient: bool) -> float:
        seconds = best_s(
            lambda: completion_loss(
                hidden,
                targets,
                head,
                with_gradient=with_gradient,
                chunk_bytes=chunk_bytes,
                kernel=kernel,
            ),
            2,
            clock=clock,
        )
        return seconds * scale / _ROWS

    return timed(with_gradient=True), timed(with_gradient=False)


def _random_head(settings: TrainSettings, weight: Tensor, narrowing: Int8Plan) -> Head:
    """The output layer as the engine has it."""
    if settings.engine != "fast":
        return PlainHead(weight)
    arithmetic = narrowing.of(HEAD, arithmetic_for(settings))
    return frozen_product([weight], None, arithmetic, Elementwise())


def widening_s(
    config: Any, settings: TrainSettings, narrowing: Int8Plan, *, clock: Clock = time.perf_counter
) -> float:
    """Seconds that a token takes more forward by the wide products of layers; 0 without any.

    Backward they are as they were.
    """
    counts = Counter(group_of(name) for name in narrowing.wide if name != HEAD)
    if not counts:
        return 0.0
    shape, arithmetic, total = shape_of(config), arithmetic_for(settings), 0.0
    for group, count in counts.items():
        inputs, outputs = shape.product_sizes[group]
        cut = min(outputs, _LIMIT_BYTES // (torch.float32.itemsize * inputs))
        weight = torch.randn(cut, inputs).mul_(0.02)
        states = torch.randn(_ROWS, inputs).to(arithmetic.activations)
        narrow = arithmetic.of(group)
        wide_s, narrow_s = (
            _forward_s(weight, states, how, clock) for how in (narrow.widened, narrow)
        )
        total += count * max(0.0, wide_s - narrow_s) * outputs / cut / _ROWS
    return total


def _forward_s(weight: Tensor, states: Tensor, how: Arithmetic, clock: Clock) -> float:
    product = frozen_product([weight], None, how, Elementwise())
    with torch.inference_mode():
        return best_s(lambda: product.forward(states), 3, clock=clock)
