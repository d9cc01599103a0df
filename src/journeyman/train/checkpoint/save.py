"""Saves checkpoints that are whole or absent.

Space is looked at first; then a temporary folder, fsync of each file, the manifest last, rename,
fsync of the parent, everything read back, and only then older ones go. Not covered: a disk that
lies about fsync.
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
    fault_of,
    name_of,
    placed,
    sealed,
)
from journeyman.train.monitor.loss_warnings import best_validation
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor

_SPARE_FACTOR = 2


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """What a checkpoint holds beside its state, by name. gradients: empty between steps."""

    parameters: Mapping[str, "Tensor"]
    moments: Mapping[str, "Tensor"]
    gradients: Mapping[str, "Tensor"]


def save_checkpoint(state: State, tensors: Tensors, settings: TrainSettings) -> Path:
    """Write, verify, and only then delete older ones.

    Raises MachineError where another try may go well (no space); IntegrityError where the disk
    fails, after which nothing that it says about these bytes can be believed.
    """
    output_dir = settings.output_dir
    _require_space(output_dir, tensors.parameters, tensors.moments, tensors.gradients)
    path = output_dir / name_of(state.place)
    try:
        with atomic_folder(path, replace=True) as folder:
            _write(folder, state, tensors, settings)
    except (OSError, MachineError) as error:
        raise _failure(path, error) from error
    fault = fault_of(path)
    if fault:
        raise IntegrityError(
            f"`{path}` was written and does not read back: {fault}",
            hint="check the disk; the checkpoint before it is intact",
        )
    best = best_validation(state.validations)
    rotate(
        output_dir,
        keep=settings.keep_checkpoints,
        saved=state.place,
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
    write_manifest(folder, stage=STAGE, settings=vars(settings), inputs=_inputs(state), facts=facts)
    write_text(folder / SEAL, sealed(folder).decode("ascii"))


def _failure(path: Path, error: OSError | MachineError) -> IntegrityError | MachineError:
    found = error if isinstance(error, OSError) else error.__cause__
    if isinstance(found, OSError) and found.errno == errno.EIO:
        # The kernel has dropped what it could not write; a later fsync would say that all is well.
        return IntegrityError(
            f"the disk failed while `{path}` was saved: {os.strerror(errno.EIO)}",
            hint="check the disk; the checkpoint before it is intact",
        )
    reason = found.strerror if isinstance(found, OSError) else error
    return MachineError(
        f"cannot save `{path}`: {reason or error}",
        hint="free some space; earlier checkpoints are intact",
    )


def _inputs(state: State) -> dict[str, str]:
    identity = state.identity
    return {
        "train.jsonl": identity.train_sha256,
        "val.jsonl": identity.val_sha256,
        "base": identity.base_sha256,
        "chat template": identity.template_sha256,
        "tokenizer": identity.tokenizer_sha256,
    }


def _require_space(folder: Path, *tensors: Mapping[str, "Tensor"]) -> None:
    size_bytes = sum(one.nbytes for group in tensors for one in group.values())
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _SPARE_FACTOR * size_bytes:
        raise MachineError(
            f"`{folder}` has {free_bytes / 2**20:.0f} MiB left, a checkpoint needs "
            f"{_SPARE_FACTOR * size_bytes / 2**20:.0f} MiB to be safe",
            hint="free some space; earlier checkpoints are intact",
        )


def rotate(folder: Path, *, keep: int, saved: tuple[int, int], best: int | None = None) -> None:
    """Delete all checkpoints but the one just saved, the `keep` newest between steps, and the best.

    best: the step with the lowest validation loss. One inside of a step goes with the next save.
    """
    found = placed(folder)
    newest = [place for place, _ in found if place[1] == 0][:keep]
    for place, path in found:
        if place not in {saved, (best, 0), *newest}:
            # Renamed first: a half-deleted folder must not look like a damaged checkpoint.
            doomed = path.rename(path.parent / f".tmp-{path.name}-old")
            shutil.rmtree(doomed, ignore_errors=True)  # the next start clears it away
