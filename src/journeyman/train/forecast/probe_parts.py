"""Engines with random weights on few layers of a model's shape: what a probe measures.

Products that a probe times by themselves: the output layer, and what a calibration keeps wide.

A large one is cut, so that it takes no more memory than the rest of the probe.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from journeyman.kernels.rows import find_rows
from journeyman.machine.speed import Clock, best_s
from journeyman.settings import TrainSettings
from journeyman.train.engine.arithmetic import arithmetic_for
from journeyman.train.engine.fast.decoder import DecoderPlan as FastPlan
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.engine import FastEngine
from journeyman.train.engine.fast.int8_plan import Int8Plan, group_of
from journeyman.train.engine.fast.linear import Arithmetic, frozen_product
from journeyman.train.engine.fast.shape import HEAD, shape_of
from journeyman.train.engine.fast.shape import shape_of as fast_shape_of
from journeyman.train.engine.fast.weights import RandomWeights
from journeyman.train.engine.hf import HfEngine
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.loss import CHUNK_BYTES, Head, PlainHead, completion_loss
from journeyman.train.forecast.shape import ModelShape, cut_down

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

VOCABULARY = 1024
"""Tokens of the model that is probed: the output layer is timed apart, in its own size."""


def product_dtype(settings: TrainSettings) -> torch.dtype:
    """What the wide products of a run with resolved settings are multiplied in.

    Not what weights are held in: a processor without BF16 units is 80 times slower in BF16.
    """
    if settings.engine != "fast":
        return DTYPES[settings.precision]
    method = arithmetic_for(settings).forward
    return torch.bfloat16 if method == "bf16" else torch.float32


Build = Callable[[Any, TrainSettings, int], TrainingEngine]
"""(config, settings, layers) to an engine whose base has that shape, few tokens, random weights."""


def random_hf_engine(config: Any, settings: TrainSettings, layers: int) -> TrainingEngine:
    """The engine for every architecture, in the precision of the settings."""
    from transformers import AutoModelForCausalLM

    small = cut_down(config, layers=layers, vocabulary=VOCABULARY)
    dtype = DTYPES[settings.precision]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(small, dtype=dtype, trust_remote_code=False)
    return HfEngine(model.eval(), settings, dtype=dtype)


def random_fast_engine(config: Any, settings: TrainSettings, layers: int) -> TrainingEngine:
    """The engine of the Llama family, in the arithmetic of resolved settings."""
    small = cut_down(config, layers=layers, vocabulary=VOCABULARY)
    weights = RandomWeights(fast_shape_of(small), biases=small.model_type == "qwen2")
    plan = FastPlan(arithmetic_for(settings), compiled=bool(settings.compiled))
    return FastEngine(small, weights, settings, plan=plan)


def random_engine(config: Any, settings: TrainSettings, layers: int) -> TrainingEngine:
    """The engine that resolved settings name."""
    build = random_fast_engine if settings.engine == "fast" else random_hf_engine
    return build(config, settings, layers)


_ROWS = 400

_LIMIT_BYTES = 300_000_000


def output_layer_s(
    shape: ModelShape,
    settings: TrainSettings,
    int8_plan: Int8Plan,
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
    head, kernel = _random_head(settings, weight, int8_plan), find_rows()

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


def _random_head(settings: TrainSettings, weight: Tensor, int8_plan: Int8Plan) -> Head:
    """The output layer as the engine has it."""
    if settings.engine != "fast":
        return PlainHead(weight)
    arithmetic = int8_plan.of(HEAD, arithmetic_for(settings))
    return frozen_product([weight], None, arithmetic, Elementwise())


def widening_s(
    config: Any, settings: TrainSettings, int8_plan: Int8Plan, *, clock: Clock = time.perf_counter
) -> float:
    """Seconds that a token takes more forward by the wide products of layers; 0 without any.

    Backward they are as they were.
    """
    counts = Counter(group_of(name) for name in int8_plan.wide if name != HEAD)
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
