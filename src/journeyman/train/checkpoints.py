"""Checkpoints that are whole or absent, and are believed only after their hashes agree.

Save: temporary folder, fsync of each file, manifest last, rename, fsync of the parent; older ones
go only after the new one was read back. Load: newest first, first good one wins, damaged ones move
to `quarantine/`. Not covered: a disk that lies about fsync.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import IntegrityError, MachineError
from journeyman.events import Caution, Reporter
from journeyman.files import atomic_folder, sync_folder, write_json
from journeyman.runs import MANIFEST, damaged_outputs, read_manifest, write_manifest
from journeyman.settings import TrainSettings
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor

STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"
QUARANTINE = "quarantine"
PREFIX = "checkpoint-"
STAGE = "checkpoint"
_REQUIRED = ("adapter_model.safetensors", "adapter_config.json", OPTIMIZER, STATE)
_SPARE_FACTOR = 2


class Found(Struct, frozen=True):
    """A checkpoint that was verified."""

    folder: Path
    state: State


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """The folder's checkpoints by step, newest first, good or not."""
    found = [
        (int(path.name.removeprefix(PREFIX)), path)
        for path in folder.glob(f"{PREFIX}*")
        if path.is_dir() and path.name.removeprefix(PREFIX).isdecimal()
    ]
    return sorted(found, reverse=True)


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None. IntegrityError where a newer version wrote it."""
    try:
        manifest = read_manifest(folder)
    except IntegrityError as error:
        if "newer version" in error.message:
            raise
        return f"`{MANIFEST}` is damaged"
    if manifest is None:
        return f"`{MANIFEST}` is missing"
    missing = [name for name in _REQUIRED if name not in manifest.outputs]
    if manifest.stage != STAGE or missing:
        return f"`{MANIFEST}` does not name {', '.join(f'`{name}`' for name in missing) or STAGE}"
    damaged = damaged_outputs(folder, manifest)
    if damaged:
        return f"{', '.join(f'`{name}`' for name in damaged)} missing or damaged"
    return None


def read_checkpoint(folder: Path) -> Found:
    """One named checkpoint. Raises IntegrityError where it is damaged."""
    fault = fault_of(folder)
    if fault:
        raise IntegrityError(
            f"`{folder}` cannot be used: {fault}", hint="name an older checkpoint to go on from"
        )
    return _decoded(folder)


def _decoded(folder: Path) -> Found:
    try:
        state = msgspec.json.decode((folder / STATE).read_bytes(), type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The hash agreed, so this is not damage but a state of another version of this program.
        raise IntegrityError(
            f"`{folder / STATE}` was written by another version: {error}",
            hint="go on with the version that its manifest.json names, or use --fresh",
        ) from error
    return Found(folder, state)


def newest_good(folder: Path, report: Reporter) -> Found | None:
    """The newest checkpoint whose hashes agree; damaged ones are named and moved to quarantine.

    None where there never was one. Raises IntegrityError where all are damaged: a run that was
    once well on its way must not start over unasked.
    """
    for _, path in numbered(folder):
        fault = fault_of(path)
        if fault is None:
            return _decoded(path)
        moved = quarantine(path)
        report(Caution(f"`{path}` is not used: {fault}; it was moved to `{moved}`"))
    if any((folder / QUARANTINE).glob("*")):
        raise IntegrityError(
            f"every checkpoint in `{folder}` is damaged; they lie in `{folder / QUARANTINE}`",
            hint="restore one from a backup, or use --fresh to start over",
        )
    return None


def quarantine(path: Path) -> Path:
    """Move a damaged folder out of the way, keeping its name and every byte."""
    target_folder = path.parent / QUARANTINE
    target_folder.mkdir(exist_ok=True)
    taken = len(list(target_folder.glob(f"{path.name}*")))
    target = target_folder / (f"{path.name}.{taken}" if taken else path.name)
    path.rename(target)
    sync_folder(path.parent)
    return target


def save_checkpoint(
    output_dir: Path,
    state: State,
    parameters: Mapping[str, "Tensor"],
    optimizer: Mapping[str, "Tensor"],
    settings: TrainSettings,
) -> Path:
    """Write, verify, and only then delete older ones. Raises MachineError, IntegrityError."""
    from safetensors.torch import save_file

    from journeyman.train.adapter_files import write_adapter

    _require_space(output_dir, parameters, optimizer)
    path = output_dir / f"{PREFIX}{state.step}"
    try:
        with atomic_folder(path, replace=True) as folder:
            write_adapter(folder, parameters, settings)
            save_file(dict(optimizer), folder / OPTIMIZER)
            write_json(folder / STATE, state)
            write_manifest(folder, stage=STAGE, settings=vars(settings), inputs=_inputs(state))
    except OSError as error:
        raise MachineError(
            f"cannot save `{path}`: {error.strerror or error}",
            hint="free some space and run the same command again; earlier checkpoints are intact",
        ) from error
    fault = fault_of(path)
    if fault:
        raise IntegrityError(
            f"`{path}` was written and does not read back: {fault}",
            hint="check the disk; the checkpoint before it is intact",
        )
    rotate(output_dir, keep=settings.keep_checkpoints)
    return path


def _inputs(state: State) -> dict[str, str]:
    identity = state.identity
    return {
        "train.jsonl": identity.train_sha256,
        "val.jsonl": identity.val_sha256,
        "base": identity.base_sha256,
        "chat template": identity.template_sha256,
    }


def _require_space(folder: Path, *tensors: Mapping[str, "Tensor"]) -> None:
    size_bytes = sum(one.nbytes for group in tensors for one in group.values())
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _SPARE_FACTOR * size_bytes:
        raise MachineError(
            f"`{folder}` has {free_bytes / 2**20:.0f} MiB left, a checkpoint needs "
            f"{_SPARE_FACTOR * size_bytes / 2**20:.0f} MiB to be safe",
            hint="free some space and run the same command again; nothing that was saved is lost",
        )


def rotate(folder: Path, *, keep: int) -> None:
    """Delete all checkpoints but the `keep` newest."""
    for _, path in numbered(folder)[keep:]:
        # Renamed first: a half-deleted folder must not look like a damaged checkpoint.
        doomed = path.rename(path.parent / f".tmp-{path.name}-old")
        shutil.rmtree(doomed)
