"""How a run computes, decided once and carried on: engine, arithmetic, memory plan, INT8 plan.

`decide` makes every choice that the settings leave open. Forecast, calibration, engine and session
take the `Recipe` and decide nothing again. Importing this module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from journeyman.events import Note, Reporter, ignore
from journeyman.settings import EFFECTIVE_BATCH, TrainSettings
from journeyman.train.batching.batches import accumulation_for, tokens_of_run
from journeyman.train.engine.choose import choose, compiles

if TYPE_CHECKING:
    from journeyman.train.engine.fast.int8_plan import Int8Plan
    from journeyman.train.engine.fast.linear import Arithmetic
    from journeyman.train.engine.fast.memory import MemoryPlan
    from journeyman.train.engine.fast.shape import DecoderShape


@dataclass(frozen=True, kw_only=True)
class FastRecipe:
    """What only the fast engine decides.

    memory: taken before the weights are loaded. int8_plan: `PLAIN_INT8` until a calibration.
    """

    shape: "DecoderShape"
    arithmetic: "Arithmetic"
    memory: "MemoryPlan"
    int8_plan: "Int8Plan"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything decided about how a run computes.

    settings: resolved, so no field is `auto` and `accumulation` is a number. config: the base's, as
    transformers reads it. fast: None if the hf engine trains.
    """

    settings: TrainSettings
    config: Any
    fast: FastRecipe | None

    @property
    def pads_rows(self) -> bool:
        """Whether every row is computed to the length of the longest of its micro-batch."""
        return self.fast is None

    @property
    def spares_memory(self) -> bool:
        """Whether freed memory may stay with the process: memory is plentiful, so time is saved."""
        if self.fast is None or self.settings.device != "cpu":
            return False
        return self.fast.memory.fits_twice(self.settings)

    @property
    def int8_plan_id(self) -> str:
        """Hash of the INT8 plan; empty without a calibration."""
        return "" if self.fast is None else self.fast.int8_plan.id


def decide(settings: TrainSettings, config: Any, report: Reporter = ignore) -> Recipe:
    """The recipe of a run, with every choice and its reason reported.

    `compiled` stays open until the rows are known: see `for_rows`. Raises UsageError, MachineError
    if the user requested an engine or a precision that this model or machine does not support.
    """
    choice = choose(settings, config, report)
    for reason in choice.reasons:
        report(Note(reason))
    resolved = replace(
        settings,
        accumulation=_accumulation(settings, report),
        engine=choice.engine,
        precision=choice.precision,
        device=choice.device,
    )
    return recipe_of(resolved, config, report)


def recipe_of(
    settings: TrainSettings,
    config: Any,
    report: Reporter = ignore,
    *,
    int8_plan: "Int8Plan | None" = None,
) -> Recipe:
    """The recipe of resolved settings, which leave nothing to decide."""
    if settings.engine != "fast":
        return Recipe(settings=settings, config=config, fast=None)
    from journeyman.train.engine.arithmetic import arithmetic_of
    from journeyman.train.engine.devices import device_memory
    from journeyman.train.engine.fast.int8_plan import PLAIN_INT8
    from journeyman.train.engine.fast.memory import memory_plan_of
    from journeyman.train.engine.fast.shape import shape_of

    shape = shape_of(config)
    int8_plan = int8_plan or PLAIN_INT8
    arithmetic = arithmetic_of(settings.precision, report, device=settings.device)
    memory = memory_plan_of(
        shape,
        arithmetic,
        settings,
        device_memory(settings.device),
        full_precision_bytes=int8_plan.full_precision_bytes,
    )
    fast = FastRecipe(shape=shape, arithmetic=arithmetic, memory=memory, int8_plan=int8_plan)
    return Recipe(settings=settings, config=config, fast=fast)


def for_rows(recipe: Recipe, lengths: Sequence[int], report: Reporter) -> Recipe:
    """The recipe with `compiled` decided by how much there is to compute.

    lengths: tokens of each training row. Raises MachineError if `--compiled` was requested and
    there is no compiler.
    """
    tokens = tokens_of_run(lengths, recipe.settings)
    shape = None if recipe.fast is None else recipe.fast.shape
    compiled = compiles(recipe.settings, shape, tokens=tokens, report=report)
    return replace(recipe, settings=replace(recipe.settings, compiled=compiled))


def with_int8_plan(recipe: Recipe, int8_plan: "Int8Plan") -> Recipe:
    """The recipe with a calibration's plan, whose full-precision layers take memory, too."""
    if recipe.fast is None:
        return recipe
    memory = recipe.fast.memory.with_full_precision(int8_plan.full_precision_bytes)
    return replace(recipe, fast=replace(recipe.fast, int8_plan=int8_plan, memory=memory))


def _accumulation(settings: TrainSettings, report: Reporter) -> int:
    if settings.accumulation is not None:
        return settings.accumulation
    accumulation = accumulation_for(settings.batch_size)
    rows = accumulation * settings.batch_size
    if rows != EFFECTIVE_BATCH:
        report(
            Note(
                f"{rows} rows a step: batch size {settings.batch_size} does not divide "
                f"{EFFECTIVE_BATCH}, and {accumulation} micro-batches come closest"
            )
        )
    return accumulation
