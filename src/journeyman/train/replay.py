"""A step whose loss or gradient is no number, as a folder from which it can be computed again.

`replay-step-N/` holds the adapter as it was before the update that was not made, and in
`replay.json` the rows in tokens, the seeds and the settings. `rerun` computes it again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import IntegrityError, UsageError
from journeyman.files import atomic_folder, write_json
from journeyman.settings import TrainSettings
from journeyman.train.batches import OptimiserStep
from journeyman.train.fit import split
from journeyman.train.rows import TokenRow
from journeyman.train.seeds import derived_seed
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from journeyman.train.fast.narrowing import Int8Plan

PREFIX = "replay-step-"
NOTE = "replay.json"


class NotFinite(IntegrityError):
    """A loss or a gradient is no number; the update was not made. `state` is that of its moment."""

    def __init__(
        self, what: str, state: State, step: OptimiserStep, row_ids: Sequence[str]
    ) -> None:
        super().__init__(
            f"{what} is not finite at step {step.number}, rows {', '.join(row_ids)}",
            hint="the update was not made; look at these rows, lower --lr, "
            "or check the base model's files",
        )
        self.what, self.state, self.step = what, state, step


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


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """The seed of one micro-batch's dropout; micro-batches count from 0."""
    return derived_seed(seed, "dropout", step, micro_batch)


def write_replay(
    error: NotFinite,
    rows: Sequence[TokenRow],
    parameters: Mapping[str, "Tensor"],
    settings: TrainSettings,
    narrowing: "Int8Plan | None" = None,
) -> Path:
    """Write the bundle of the step beside the checkpoints; gives its folder."""
    from journeyman.train.adapter_files import write_adapter
    from journeyman.train.fast.narrowing_files import FILE, write_narrowing

    path = settings.output_dir / f"{PREFIX}{error.step.number}"
    with atomic_folder(path, replace=True) as folder:
        write_adapter(folder, parameters, settings)
        if narrowing is not None and narrowing.id:
            write_narrowing(folder / FILE, narrowing)
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
