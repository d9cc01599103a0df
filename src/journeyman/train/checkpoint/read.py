"""Checkpoints to go on from: believed only after their hashes agree.

Newest first, the first good one wins, damaged ones move to `quarantine/`, nothing is deleted.
`checkpoint-N` lies between steps; `checkpoint-N-micro-M` also holds the gradients of M
micro-batches of the next step. `saving` writes them.
"""

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.events import Caution, Reporter
from journeyman.files import sha256_of, sync_folder
from journeyman.runs import MANIFEST, damaged_outputs, read_manifest
from journeyman.train.state import State

STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"
GRADIENTS = "gradients.safetensors"
SEAL = "manifest.sha256"
QUARANTINE = "quarantine"
PREFIX = "checkpoint-"
STAGE = "checkpoint"
_NAME = re.compile(rf"{PREFIX}([0-9]+)(?:-micro-([0-9]+))?")
_REQUIRED = ("adapter_model.safetensors", "adapter_config.json", OPTIMIZER, STATE)


class Checkpoint(Struct, frozen=True):
    """A checkpoint that was verified."""

    folder: Path
    state: State


def name_of(place: tuple[int, int]) -> str:
    """The folder's name for so many steps, and micro-batches of the next one."""
    step, micro_batch = place
    return f"{PREFIX}{step}" + (f"-micro-{micro_batch}" if micro_batch else "")


def placed(folder: Path) -> list[tuple[tuple[int, int], Path]]:
    """The folder's checkpoints by step and micro-batch, newest first, good or not."""
    found = [
        ((int(match[1]), int(match[2] or 0)), path)
        for path in folder.glob(f"{PREFIX}*")
        if (match := _NAME.fullmatch(path.name)) and path.is_dir()
    ]
    return sorted(found, reverse=True)


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None. IntegrityError where a newer version wrote it."""
    if not (folder / MANIFEST).is_file():
        return f"`{MANIFEST}` is missing"
    # First of all: a flipped bit in the manifest must not pass for another version's.
    if not _is_sealed(folder):
        return f"`{MANIFEST}` is damaged"
    manifest = read_manifest(folder)
    assert manifest is not None
    missing = [name for name in _REQUIRED if name not in manifest.outputs]
    if manifest.stage != STAGE or missing:
        return f"`{MANIFEST}` does not name {', '.join(f'`{name}`' for name in missing) or STAGE}"
    damaged = damaged_outputs(folder, manifest)
    if damaged:
        return f"{', '.join(f'`{name}`' for name in damaged)} missing or damaged"
    return None


def sealed(folder: Path) -> bytes:
    """What the seal of the folder's manifest says."""
    return f"{sha256_of(folder / MANIFEST)}\n".encode("ascii")


def _is_sealed(folder: Path) -> bool:
    try:
        promised = (folder / SEAL).read_bytes()
    except FileNotFoundError:
        return False
    return promised == sealed(folder)


def read_checkpoint(folder: Path) -> Checkpoint:
    """One named checkpoint. Raises IntegrityError where it is damaged."""
    fault = fault_of(folder)
    if fault:
        raise IntegrityError(
            f"`{folder}` cannot be used: {fault}", hint="name an older checkpoint to go on from"
        )
    return _decoded(folder)


def _decoded(folder: Path) -> Checkpoint:
    try:
        state = msgspec.json.decode((folder / STATE).read_bytes(), type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The hash agreed, so this is not damage but a state of another version of this program.
        raise IntegrityError(
            f"`{folder / STATE}` was written by another version: {error}",
            hint="go on with the version that its manifest.json names, or use --fresh",
        ) from error
    return Checkpoint(folder, state)


def newest_good(folder: Path, report: Reporter) -> Checkpoint | None:
    """The newest checkpoint whose hashes agree; damaged ones are named and moved to quarantine.

    None where there never was one. Raises IntegrityError where all are damaged: a run that was
    once well on its way must not start over unasked.
    """
    for _, path in placed(folder):
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
