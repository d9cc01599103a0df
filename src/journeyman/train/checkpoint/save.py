"""Saves checkpoints, so that one is either complete or not there.

The free space is checked first; then files are written to a temporary folder and synced, the
manifest last; the folder is renamed and its parent synced; everything is read back, and only then
older checkpoints are deleted. Not covered: a disk that lies about fsync.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.errors import IntegrityError, MachineError
from journeyman.files import atomic_folder, write_json, write_text
from journeyman.runs import write_manifest
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.read import (
    GRADIENTS,
    OPTIMIZER,
    SEAL,
    STAGE,
    STATE,
    checkpoint_name,
    checkpoints_in,
    fault_of,
    seal_of,
)
from journeyman.train.monitor.loss_warnings import best_validation
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor

# How many times a checkpoint's size must be free.
_SPACE_FACTOR = 2


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """The tensors of a checkpoint, by name. gradients: empty between steps."""

    parameters: Mapping[str, "Tensor"]
    moments: Mapping[str, "Tensor"]
    gradients: Mapping[str, "Tensor"]


def save_checkpoint(state: State, tensors: Tensors, settings: TrainSettings) -> Path:
    """Write a checkpoint, read it back, and then delete older ones; gives its folder.

    Raises MachineError if another try may succeed (no space), IntegrityError if the disk fails,
    because then it cannot be trusted with these bytes.
    """
    output_dir = settings.output_dir
    _require_space(output_dir, tensors.parameters, tensors.moments, tensors.gradients)
    path = output_dir / checkpoint_name(state.position)
    try:
        with atomic_folder(path, replace=True) as folder:
            _write(folder, state, tensors, settings)
    except (OSError, MachineError) as error:
        raise _failure(path, error) from error
    fault = fault_of(path)
    if fault:
        raise IntegrityError(
            f"`{path}` was written and cannot be read back: {fault}",
            hint="check the disk; the checkpoint before this one is intact",
        )
    best = best_validation(state.validations)
    rotate(
        output_dir,
        keep=settings.keep_checkpoints,
        saved=state.position,
        best=best.step if best else None,
    )
    return path


def _write(folder: Path, state: State, tensors: Tensors, settings: TrainSettings) -> None:
    from journeyman.model.adapter_files import write_adapter, write_tensors

    write_adapter(folder, tensors.parameters, settings)
    write_tensors(folder / OPTIMIZER, tensors.moments)
    if tensors.gradients:
        write_tensors(folder / GRADIENTS, tensors.gradients)
    write_json(folder / STATE, state)
    facts = {"exact": state.is_exact, "lineage": state.lineage}
    write_manifest(
        folder, stage=STAGE, settings=vars(settings), inputs=state.identity.inputs(), facts=facts
    )
    write_text(folder / SEAL, seal_of(folder).decode("ascii"))


def _failure(path: Path, error: OSError | MachineError) -> IntegrityError | MachineError:
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.EIO:
        # The kernel has dropped what it could not write, and a later fsync would succeed.
        return IntegrityError(
            f"the disk failed while `{path}` was saved: {os.strerror(errno.EIO)}",
            hint="check the disk; the checkpoint before this one is intact",
        )
    reason = cause.strerror if isinstance(cause, OSError) else error
    return MachineError(
        f"cannot save `{path}`: {reason or error}",
        hint="free some space; earlier checkpoints are intact",
    )


def _require_space(folder: Path, *tensors: Mapping[str, "Tensor"]) -> None:
    size_bytes = sum(one.nbytes for group in tensors for one in group.values())
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _SPACE_FACTOR * size_bytes:
        raise MachineError(
            f"`{folder}` has {free_bytes / 2**20:.0f} MiB left, but a checkpoint needs "
            f"{_SPACE_FACTOR * size_bytes / 2**20:.0f} MiB to be safe",
            hint="free some space; earlier checkpoints are intact",
        )


def rotate(folder: Path, *, keep: int, saved: tuple[int, int], best: int | None = None) -> None:
    """Delete all checkpoints but the one just saved, the `keep` newest between steps, and the best.

    saved: its position. best: the step with the lowest validation loss. A checkpoint inside of a
    step goes with the next save.
    """
    checkpoints = checkpoints_in(folder)
    newest = [position for position, _ in checkpoints if position[1] == 0][:keep]
    for position, path in checkpoints:
        if position not in {saved, (best, 0), *newest}:
            # Renamed first, so that a half-deleted folder does not look like a damaged checkpoint.
            doomed = path.rename(path.parent / f".tmp-{path.name}-old")
            shutil.rmtree(doomed, ignore_errors=True)  # the next start removes it
