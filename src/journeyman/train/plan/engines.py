"""Engines with random weights on few layers of a model's shape: what a probe measures."""

from collections.abc import Callable
from typing import Any

import torch

from journeyman.settings import TrainSettings
from journeyman.train.arithmetic import arithmetic_for
from journeyman.train.engine import TrainingEngine
from journeyman.train.fast.decoder import DecoderPlan as FastPlan
from journeyman.train.fast.engine import FastEngine
from journeyman.train.fast.shape import shape_of as fast_shape_of
from journeyman.train.fast.sources import RandomWeights
from journeyman.train.hf_engine import HfEngine
from journeyman.train.plan.shape import cut_down

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
