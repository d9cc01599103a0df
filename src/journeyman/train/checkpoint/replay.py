"""A step whose loss or gradient is no number, as a folder from which it can be computed again.

`replay-step-N/` holds the adapter as it was before the update that was not made, and in
`replay.json` the rows in tokens, the seeds and the settings. `rerun` computes it again.
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
    """One micro-batch: the seed of its dropout and its rows in tokens."""

    seed: int
    rows: tuple[TokenRow, ...]


class Replay(Struct, frozen=True):
    """Everything beside the base and the adapter that the step follows from.

    `micro_batch` counts from 1; None where it was the gradient of all of them. `weight` is one
    over the step's trained tokens.
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
    """Write the bundle of the step beside the checkpoints; gives its folder."""
    settings = recipe.settings
    from journeyman.model.adapter_files import write_adapter
    from journeyman.train.engine.fast.int8_plan import FILE, write_int8_plan

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
    at_loss = state.micro_batch < len(parts)
    return Replay(
        what=error.what,
        step=step.number,
        micro_batch=state.micro_batch + 1 if at_loss else None,
        weight=1 / sum(rows[index].trained_tokens for index in step.rows),
        parts=parts,
        base_name=state.identity.base_name,
        base_sha256=state.identity.base_sha256,
        engine=state.identity.engine,
        arithmetic=state.arithmetic,
        settings=settings,
    )


def read_replay(folder: Path) -> Replay:
    """The note of a bundle. Raises UsageError where the folder is none."""
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
            f"`{folder}` holds no step to replay: {error}",
            hint=f"name a `{PREFIX}N` folder that `journeyman train` wrote",
        ) from error
