"""Writes and reads a step whose loss or gradient was not finite, to compute it again.

`replay-step-N/` has the adapter as it was before the step's update, which was not made, and in
`replay.json` the rows in tokens, the seeds and the settings. `rerun` computes the step again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.files import atomic_folder, write_json
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import split
from journeyman.train.batching.rows import TokenRow
from journeyman.train.batching.seeds import dropout_seed
from journeyman.train.engine.recipe import Recipe
from journeyman.train.monitor.loss_warnings import NotFinite

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "replay-step-"

NOTE = "replay.json"


class ReplayMicroBatch(Struct, frozen=True):
    """One micro-batch: its dropout seed and its rows in tokens."""

    seed: int
    rows: tuple[TokenRow, ...]


class Replay(Struct, frozen=True):
    """Everything that the step depends on besides the base model and the adapter.

    what: `the loss` or `the gradient`. micro_batch: with that loss, from 1; None for the gradient
    of all. weight: one over the step's trained tokens. arithmetic: see `State`.
    """

    what: str
    step: int
    micro_batch: int | None
    weight: float
    parts: tuple[ReplayMicroBatch, ...]
    base_name: str
    base_sha256: str
    engine: str
    arithmetic: str
    settings: TrainSettings


def write_replay(
    error: NotFinite,
    rows: Sequence[TokenRow],
    parameters: Mapping[str, "Tensor"],
    recipe: Recipe,
) -> Path:
    """Write the step into a replay folder beside the checkpoints; gives its path."""
    from journeyman.model.adapter_files import write_adapter
    from journeyman.train.engine.fast.int8_plan import FILE, write_int8_plan

    settings = recipe.settings
    path = settings.output_dir / f"{PREFIX}{error.step.number}"
    with atomic_folder(path, replace=True) as folder:
        write_adapter(folder, parameters, settings)
        if recipe.fast is not None and recipe.int8_plan_id:
            write_int8_plan(folder / FILE, recipe.fast.int8_plan)
        write_json(folder / NOTE, msgspec.to_builtins(_replay(error, rows, settings), enc_hook=str))
    return path


def _replay(error: NotFinite, rows: Sequence[TokenRow], settings: TrainSettings) -> Replay:
    step, state = error.step, error.state
    parts = tuple(
        ReplayMicroBatch(
            dropout_seed(settings.seed, step.number, at), tuple(rows[index] for index in batch)
        )
        for at, batch in enumerate(split(step.micro_batches, state.fit))
    )
    has_bad_loss = state.micro_batch < len(parts)
    return Replay(
        what=error.what,
        step=step.number,
        micro_batch=state.micro_batch + 1 if has_bad_loss else None,
        weight=1 / sum(rows[index].trained_tokens for index in step.rows),
        parts=parts,
        base_name=state.identity.base_name,
        base_sha256=state.identity.base_sha256,
        engine=state.identity.engine,
        arithmetic=state.arithmetic,
        settings=settings,
    )


def read_replay(folder: Path) -> Replay:
    """The step in a replay folder. Raises UsageError if it is not one."""
    try:
        data = (folder / NOTE).read_bytes()
        return msgspec.json.decode(data, type=Replay, dec_hook=lambda kind, text: kind(text))
    except (
        FileNotFoundError,
        NotADirectoryError,
        msgspec.DecodeError,
        UnicodeDecodeError,
    ) as error:
        raise UsageError(
            f"`{folder}` has no step to replay: {error}",
            hint=f"name a `{PREFIX}N` folder that `journeyman train` wrote",
        ) from error
