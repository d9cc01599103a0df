"""Reads checkpoints; one is used only if all its hashes agree.

The newest good one is taken; damaged ones move to `quarantine/`, and nothing is deleted.
`checkpoint-N` was saved after step N; `checkpoint-N-micro-M` also has the gradients of M
micro-batches of the next step. `save` writes them.
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
    """A checkpoint whose hashes agree."""

    folder: Path
    state: State


def checkpoint_name(position: tuple[int, int]) -> str:
    """The folder's name. position: steps, and micro-batches of the next one."""
    step, micro_batch = position
    return f"{PREFIX}{step}" + (f"-micro-{micro_batch}" if micro_batch else "")


def checkpoints_in(folder: Path) -> list[tuple[tuple[int, int], Path]]:
    """Position and path of every checkpoint in a folder, newest first, good or damaged."""
    checkpoints = [
        ((int(match[1]), int(match[2] or 0)), path)
        for path in folder.glob(f"{PREFIX}*")
        if (match := _NAME.fullmatch(path.name)) and path.is_dir()
    ]
    return sorted(checkpoints, reverse=True)


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None. IntegrityError if a newer version wrote it."""
    if not (folder / MANIFEST).is_file():
        return f"`{MANIFEST}` is missing"
    # Checked first, so that a flipped bit is not taken for the manifest of another version.
    if not _is_sealed(folder):
        return f"`{MANIFEST}` is damaged"
    manifest = read_manifest(folder)
    assert manifest is not None
    missing = [name for name in _REQUIRED if name not in manifest.outputs]
    if manifest.stage != STAGE or missing:
        return f"`{MANIFEST}` does not list {', '.join(f'`{name}`' for name in missing) or STAGE}"
    damaged = damaged_outputs(folder, manifest)
    if damaged:
        return f"missing or damaged: {', '.join(f'`{name}`' for name in damaged)}"
    return None


def seal_of(folder: Path) -> bytes:
    """What the folder's seal must contain: the hash of its manifest."""
    return f"{sha256_of(folder / MANIFEST)}\n".encode("ascii")


def _is_sealed(folder: Path) -> bool:
    try:
        seal = (folder / SEAL).read_bytes()
    except FileNotFoundError:
        return False
    return seal == seal_of(folder)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. Raises IntegrityError if it is damaged."""
    fault = fault_of(folder)
    if fault:
        raise IntegrityError(
            f"cannot use `{folder}`: {fault}", hint="go on from an older checkpoint with --resume"
        )
    return _read(folder)


def _read(folder: Path) -> Checkpoint:
    try:
        state = msgspec.json.decode((folder / STATE).read_bytes(), type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The hash agrees, so the file is not damaged but of another version of this program.
        raise IntegrityError(
            f"`{folder / STATE}` was written by another version: {error}",
            hint="go on with the version that its manifest.json names, or use --fresh",
        ) from error
    return Checkpoint(folder, state)


def newest_good(folder: Path, report: Reporter) -> Checkpoint | None:
    """The newest good checkpoint, or None if there never was one; damaged ones go to quarantine.

    Raises IntegrityError if all are damaged, because such a run must not start over by itself.
    """
    for _, path in checkpoints_in(folder):
        fault = fault_of(path)
        if fault is None:
            return _read(path)
        moved = quarantine(path)
        report(Caution(f"`{path}` is damaged ({fault}) and was moved to `{moved}`"))
    if any((folder / QUARANTINE).glob("*")):
        raise IntegrityError(
            f"every checkpoint in `{folder}` is damaged; they are in `{folder / QUARANTINE}`",
            hint="restore one from a backup, or use --fresh to start over",
        )
    return None


def quarantine(path: Path) -> Path:
    """Move a damaged folder out of the way, unchanged; gives its new path."""
    target_folder = path.parent / QUARANTINE
    target_folder.mkdir(exist_ok=True)
    existing = len(list(target_folder.glob(f"{path.name}*")))
    target = target_folder / (f"{path.name}.{existing}" if existing else path.name)
    path.rename(target)
    sync_folder(path.parent)
    return target
