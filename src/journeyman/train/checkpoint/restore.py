"""Puts a checkpoint's adapter and optimiser moments back in place, and its state up to date."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from msgspec.structs import replace

from journeyman.errors import IntegrityError
from journeyman.events import Caution, Note, Reporter
from journeyman.model.adapter_files import read_weights
from journeyman.train.checkpoint.read import GRADIENTS, OPTIMIZER, Checkpoint
from journeyman.train.engine.adapter_parameters import copy_into
from journeyman.train.identity import Change
from journeyman.train.out_of_memory import with_reduction
from journeyman.train.state import State

if TYPE_CHECKING:
    from journeyman.train.engine.interface import TrainingEngine
    from journeyman.train.engine.optimizer import Optimizer


def restore(
    checkpoint: Checkpoint, fresh: State, engine: "TrainingEngine", optimizer: "Optimizer"
) -> State:
    """The checkpoint's state, with its adapter and moments in place.

    fresh: a new run's state here; the lineage records what it changes in the checkpoint's. Raises
    IntegrityError if the tensors do not fit the model.
    """
    state = checkpoint.state
    try:
        copy_into(engine.parameters(), read_weights(checkpoint.folder))
        if state.step:
            optimizer.restore(_tensors(checkpoint.folder / OPTIMIZER), step=state.step)
    except (KeyError, ValueError) as error:
        raise misfit(checkpoint, error) from error
    if fresh.fit.halvings > state.fit.halvings or fresh.fit.recompute > state.fit.recompute:
        # A process that was killed for memory could not write the reduction into a checkpoint.
        state = with_reduction(state, fresh.fit)
    if state.arithmetic != fresh.arithmetic:
        change = Change(state.step, "arithmetic", state.arithmetic, fresh.arithmetic)
        state = replace(state, arithmetic=fresh.arithmetic, lineage=(*state.lineage, change))
    return state


def report_restored(checkpoint: Checkpoint, state: State, steps: int, report: Reporter) -> None:
    """Report where a run goes on. steps: of the whole run."""
    inside = f", micro-batch {state.micro_batch} of the next" if state.micro_batch else ""
    report(Note(f"resuming from `{checkpoint.folder}`, step {state.step} of {steps}{inside}"))
    before = checkpoint.state.arithmetic
    if before != state.arithmetic:
        report(
            Caution(
                f"the run started with {before} and goes on with {state.arithmetic}: its result "
                "will not be equal bit for bit to an uninterrupted run",
                hint="use the same --threads and versions if that matters",
            )
        )


def saved_gradients(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The gradients of a checkpoint inside of a step."""
    return _tensors(checkpoint.folder / GRADIENTS)


def misfit(checkpoint: Checkpoint, error: KeyError | ValueError) -> IntegrityError:
    """The error for a checkpoint whose tensors do not fit the model."""
    return IntegrityError(
        f"`{checkpoint.folder}` does not fit the model: {error}",
        hint="go on with the version that wrote it, or use --fresh to start over",
    )


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors
