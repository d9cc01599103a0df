"""Opens the engine of a recipe and loads the base model's weights."""

import torch

from journeyman.events import Note, Reporter, ignore
from journeyman.kernels.elementwise import find_elementwise_kernel
from journeyman.records import BaseModel
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.recipe import FastRecipe, Recipe

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""In what the hf engine stores and multiplies weights."""


def open_engine(base: BaseModel, recipe: Recipe, report: Reporter = ignore) -> TrainingEngine:
    """The engine of a recipe. Raises MachineError if the run does not fit into memory."""
    settings = recipe.settings
    if recipe.fast is None:
        from journeyman.train.engine.hf import HfEngine

        dtype, kernel = DTYPES[settings.precision], find_elementwise_kernel(report)
        return HfEngine(base, settings, dtype=dtype, kernel=kernel, report=report)
    return _fast_engine(base, recipe, recipe.fast, report)


def _fast_engine(
    base: BaseModel, recipe: Recipe, fast: FastRecipe, report: Reporter
) -> TrainingEngine:
    from journeyman.train.engine.fast.decoder import DecoderPlan
    from journeyman.train.engine.fast.engine import FastEngine
    from journeyman.train.engine.fast.memory import report_checkpointing, require_memory
    from journeyman.train.engine.fast.weights import FolderWeights

    settings = recipe.settings
    require_memory(fast.memory, settings)
    report_checkpointing(fast.memory, settings, report)
    plan = DecoderPlan(
        fast.arithmetic,
        int8_plan=fast.int8_plan,
        compiled=bool(settings.compiled),
        activation_budget=fast.memory.activation_budget,
        device=torch.device(settings.device),
    )
    engine = FastEngine(recipe.config, FolderWeights(base.folder), settings, plan=plan)
    attention = "torch" if fast.arithmetic.attention is None else "the project's kernel"
    report(
        Note(
            f"frozen weights: {engine.stored_bytes() / 2**30:.1f} GiB, multiplied in "
            f"{fast.arithmetic.forward}; attention by {attention}"
        )
    )
    return engine
