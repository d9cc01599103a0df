"""Engines with random weights on few layers of a model's shape, and products that are timed apart.

Timed apart: the output layer, and what a calibration keeps in full precision. A large product is
cut, so that it takes no more memory than the rest of the probe.
"""

import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from journeyman.kernels.elementwise import find_elementwise_kernel
from journeyman.machine.speed import Clock, best_s
from journeyman.train.engine.factory import DTYPES
from journeyman.train.engine.fast.decoder import DecoderPlan
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.engine import FastEngine
from journeyman.train.engine.fast.int8_plan import group_of
from journeyman.train.engine.fast.linear import Arithmetic, frozen_linear
from journeyman.train.engine.fast.shape import HEAD
from journeyman.train.engine.fast.shape import shape_of as fast_shape_of
from journeyman.train.engine.fast.weights import RandomWeights
from journeyman.train.engine.hf import HfEngine
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.loss import CHUNK_BYTES, Head, PlainHead, completion_loss
from journeyman.train.engine.recipe import FastRecipe, Recipe
from journeyman.train.forecast.shape import ModelShape, cut_down

VOCABULARY = 1024
"""Tokens of the model that is probed: the output layer is timed apart, in its own size."""
_ROWS = 400
_LIMIT_BYTES = 300_000_000

Build = Callable[[Recipe, int], TrainingEngine]
"""(recipe, layers) to an engine whose base has that shape, few tokens, random weights."""


def product_dtype(recipe: Recipe) -> torch.dtype:
    """What the full-precision products of a run are multiplied in.

    Not what weights are held in: a processor without BF16 units is 80 times slower in BF16.
    """
    if recipe.fast is None:
        return DTYPES[recipe.settings.precision]
    return torch.bfloat16 if recipe.fast.arithmetic.forward == "bf16" else torch.float32


def random_engine(recipe: Recipe, layers: int) -> TrainingEngine:
    """The engine of a recipe, with few layers, few tokens and random weights."""
    if recipe.fast is None:
        return _random_hf_engine(recipe, layers)
    return _random_fast_engine(recipe, recipe.fast, layers)


def _random_hf_engine(recipe: Recipe, layers: int) -> TrainingEngine:
    from transformers import AutoModelForCausalLM

    small = cut_down(recipe.config, layers=layers, vocabulary=VOCABULARY)
    dtype = DTYPES[recipe.settings.precision]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(small, dtype=dtype, trust_remote_code=False)
    return HfEngine(model.eval(), recipe.settings, dtype=dtype)


def _random_fast_engine(recipe: Recipe, fast: FastRecipe, layers: int) -> TrainingEngine:
    small = cut_down(recipe.config, layers=layers, vocabulary=VOCABULARY)
    weights = RandomWeights(fast_shape_of(small), biases=small.model_type == "qwen2")
    plan = DecoderPlan(fast.arithmetic, compiled=bool(recipe.settings.compiled))
    return FastEngine(small, weights, recipe.settings, plan=plan)


def output_layer_s(
    shape: ModelShape, recipe: Recipe, *, clock: Clock = time.perf_counter
) -> tuple[float, float]:
    """Seconds of the output layer and loss for one trained token: with gradient, and without.

    The chunks are cut with the vocabulary, so that they hold as many rows.
    """
    dtype = product_dtype(recipe)
    vocabulary = min(shape.vocabulary, _LIMIT_BYTES // (shape.hidden * dtype.itemsize))
    scale = shape.vocabulary / vocabulary
    weight = torch.randn(vocabulary, shape.hidden).mul_(0.02).to(dtype)
    hidden = torch.randn(_ROWS, shape.hidden).to(dtype)
    targets = torch.arange(_ROWS).remainder(vocabulary)
    chunk_bytes = int(CHUNK_BYTES / scale)
    head, kernel = _random_head(recipe.fast, weight), find_elementwise_kernel()

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


def _random_head(fast: FastRecipe | None, weight: Tensor) -> Head:
    """The output layer as the engine has it."""
    if fast is None:
        return PlainHead(weight)
    return frozen_linear([weight], None, fast.int8_plan.of(HEAD, fast.arithmetic), Elementwise())


def full_precision_extra_s(fast: FastRecipe | None, *, clock: Clock = time.perf_counter) -> float:
    """Seconds more that a token takes forward because layers stay in full precision.

    0 if none does. Backward they are INT8 like the others.
    """
    if fast is None:
        return 0.0
    names = fast.int8_plan.full_precision
    total = 0.0
    for group, count in Counter(group_of(name) for name in names if name != HEAD).items():
        inputs, outputs = fast.shape.product_sizes[group]
        cut = min(outputs, _LIMIT_BYTES // (torch.float32.itemsize * inputs))
        weight = torch.randn(cut, inputs).mul_(0.02)
        states = torch.randn(_ROWS, inputs).to(fast.arithmetic.activations)
        int8 = fast.arithmetic.of(group)
        full_s, int8_s = (
            _forward_s(weight, states, how, clock) for how in (int8.full_precision, int8)
        )
        total += count * max(0.0, full_s - int8_s) * outputs / cut / _ROWS
    return total


def _forward_s(weight: Tensor, states: Tensor, how: Arithmetic, clock: Clock) -> float:
    product = frozen_linear([weight], None, how, Elementwise())
    with torch.inference_mode():
        return best_s(lambda: product.forward(states), 3, clock=clock)
