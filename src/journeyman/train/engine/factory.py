"""The engine of a run: which one, and how it shall compute."""

from typing import TYPE_CHECKING, Any

import torch

from journeyman.events import Note, Reporter, ignore
from journeyman.kernels.rows import find_rows
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.engine.arithmetic import arithmetic_for
from journeyman.train.engine.devices import CPU
from journeyman.train.engine.interface import TrainingEngine

if TYPE_CHECKING:
    from journeyman.train.engine.fast.int8_plan import Int8Plan

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def spares_memory(config: Any, settings: TrainSettings) -> bool:
    """Whether a run with these settings can have memory beyond its need; asked before it loads."""
    if settings.engine != "fast" or settings.device != CPU:
        return False
    from journeyman.train.engine.fast.memory import has_twice_the_room

    arithmetic = arithmetic_for(settings)
    return has_twice_the_room(config, arithmetic, settings)


def open_engine(
    base: BaseModel,
    settings: TrainSettings,
    report: Reporter = ignore,
    *,
    int8_plan: "Int8Plan | None" = None,
) -> TrainingEngine:
    """The engine of resolved settings, with the base's weights in memory.

    int8_plan: of the fast engine's int8 products (`exactness.int8_plan_of`).
    """
    if settings.engine == "hf":
        from journeyman.train.engine.hf import HfEngine

        dtype, kernel = _DTYPES[settings.precision], find_rows(report)
        return HfEngine(base, settings, dtype=dtype, kernel=kernel, report=report)
    from journeyman.train.engine.fast.decoder import DecoderPlan
    from journeyman.train.engine.fast.engine import open_fast_engine
    from journeyman.train.engine.fast.int8_plan import PLAIN_INT8
    from journeyman.train.engine.fast.memory import fitting_run
    from journeyman.train.engine.fast.shape import shape_of

    int8_plan = int8_plan or PLAIN_INT8
    arithmetic = arithmetic_for(settings, report)
    shape = shape_of(read_config(base.folder))
    keeping = fitting_run(shape, arithmetic, settings, report, wide_bytes=int8_plan.wide_bytes)
    plan = DecoderPlan(
        arithmetic,
        int8_plan=int8_plan,
        compiled=bool(settings.compiled),
        keeping=keeping,
        device=torch.device(settings.device),
    )
    engine = open_fast_engine(base, settings, plan=plan)
    stored = engine.stored_bytes() / 2**30
    attention = "torch" if arithmetic.attention is None else "the attention kernel"
    told = f"frozen weights: {stored:.1f} GiB, multiplied as {arithmetic.forward}"
    report(Note(f"{told}; attention by {attention}"))
    return engine
