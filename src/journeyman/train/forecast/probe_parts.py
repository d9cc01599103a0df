"""Parts of the probe: engines with few layers and random weights, and layers timed on their own.

Timed on their own: the output layer, and what a calibration keeps in full precision. A large one is
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
"""Of the probed model: the output layer is timed on its own, in its real size."""
_ROWS = 400
_MOST_BYTES = 300_000_000

Build = Callable[[Recipe, int], TrainingEngine]
"""Makes an engine from a recipe and a number of layers, with random weights."""


def product_dtype(recipe: Recipe) -> torch.dtype:
    """What the full-precision layers of a run are multiplied in.

    Not what their weights are stored in: without BF16 units, BF16 is 80 times slower.
    """
    if recipe.fast is None:
        return DTYPES[recipe.settings.precision]
    return torch.bfloat16 if recipe.fast.arithmetic.forward == "bf16" else torch.float32


def random_engine(recipe: Recipe, layers: int) -> TrainingEngine:
    """The engine of a recipe with few layers, a small vocabulary and random weights."""
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
    """Seconds of the output layer and loss for one trained token, with gradient and without.

    The chunks are cut like the vocabulary, so that each has the same number of rows.
    """
    dtype = product_dtype(recipe)
    vocabulary = min(shape.vocabulary, _MOST_BYTES // (shape.hidden * dtype.itemsize))
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
    """The output layer as the engine computes it."""
    if fast is None:
        return PlainHead(weight)
    return frozen_linear([weight], None, fast.int8_plan.of(HEAD, fast.arithmetic), Elementwise())


def full_precision_extra_s(fast: FastRecipe | None, *, clock: Clock = time.perf_counter) -> float:
    """How much longer a token takes forward because layers stay in full precision, in seconds.

    Their backward pass is in INT8 like that of the others.
    """
    if fast is None:
        return 0.0
    names = fast.int8_plan.full_precision
    total = 0.0
    for group, count in Counter(group_of(name) for name in names if name != HEAD).items():
        inputs, outputs = fast.shape.product_sizes[group]
        cut = min(outputs, _MOST_BYTES // (torch.float32.itemsize * inputs))
        weight = torch.randn(cut, inputs).mul_(0.02)
        states = torch.randn(_ROWS, inputs).to(fast.arithmetic.activations)
        int8 = fast.arithmetic.of(group)
        full_s, int8_s = (
            _forward_s(weight, states, one, clock) for one in (int8.full_precision, int8)
        )
        total += count * max(0.0, full_s - int8_s) * outputs / cut / _ROWS
    return total


def _forward_s(weight: Tensor, states: Tensor, arithmetic: Arithmetic, clock: Clock) -> float:
    linear = frozen_linear([weight], None, arithmetic, Elementwise())
    with torch.inference_mode():
        return best_s(lambda: linear.forward(states), 3, clock=clock)
