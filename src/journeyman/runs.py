"""Run folders: the manifest of their files, the lock on them, and the cache shared by all runs."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from journeyman.errors import IntegrityError, MachineError
from journeyman.events import Note, Reporter
from journeyman.files import sha256_of, write_json
from journeyman.machine.processor import describe_machine
from journeyman.records import Manifest

MANIFEST = "manifest.json"

SCHEMA = 1
_RELEASE_S = 2.0

_PACKAGES = ("journeyman", "torch", "transformers", "peft", "tokenizers", "safetensors")


def cache_folder() -> Path:
    """The folder of files that all runs share: `$JOURNEYMAN_CACHE`, else the user's cache."""
    folder = os.environ.get("JOURNEYMAN_CACHE")
    if folder:
        return Path(folder).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "journeyman"


def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, read without importing them."""
    by_package = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            by_package[name] = importlib.metadata.version(name)
    return by_package


def write_manifest(
    folder: Path,
    *,
    stage: str,
    settings: Mapping[str, object],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str] | None = None,
    facts: Mapping[str, object] | None = None,
    name: str = MANIFEST,
) -> Manifest:
    """Write the manifest of a finished folder, as the last file there.

    outputs: relative path -> sha256; None hashes every file below the folder now.
    """
    hashes = hash_files(folder) if outputs is None else dict(outputs)
    hashes.pop(name, None)
    manifest = Manifest(
        stage=stage,
        settings={key: msgspec.to_builtins(value, enc_hook=str) for key, value in settings.items()},
        inputs=dict(inputs),
        outputs=hashes,
        versions=versions(),
        machine=describe_machine(),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        schema=SCHEMA,
        facts=dict(facts or {}),
    )
    write_json(folder / name, manifest)
    return manifest


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 by relative path of every file below a folder, without unfinished ones (`.tmp-…`)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    relative = {str(path.relative_to(folder)): path for path in files}
    return {name: sha256_of(path) for name, path in relative.items() if ".tmp-" not in name}


def read_manifest(folder: Path, *, name: str = MANIFEST) -> Manifest | None:
    """The folder's manifest, or None if it has none. Raises IntegrityError if it is unreadable."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"`{path}` is damaged: {error}", hint="move the folder away and run the stage again"
        ) from error
    if manifest.schema > SCHEMA:
        raise IntegrityError(
            f"`{path}` was written by a newer version (schema {manifest.schema}, known {SCHEMA})",
            hint="upgrade journeyman",
        )
    return manifest


def damaged_outputs(folder: Path, manifest: Manifest) -> list[str]:
    """The files of the manifest that are missing or have other contents now."""
    return [
        name
        for name, promised in manifest.outputs.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != promised
    ]


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock a folder for this process; raises MachineError with the holder's id if it is locked.

    The kernel releases the lock (flock) when the process ends, in whatever way. A killed process
    may need a moment to give back its memory, so this waits for up to two seconds.
    """
    with _lock_file(folder) as handle:
        if not _lock_within(handle, _RELEASE_S):
            raise MachineError(
                f"`{folder}` is in use by process {_holder(handle)}",
                hint="wait for it, stop it, or choose another output folder",
            )
        _write_holder(handle)
        yield


@contextlib.contextmanager
def wait_for_folder_lock(folder: Path, doing: str, report: Reporter) -> Iterator[None]:
    """Lock a folder that several runs fill; a second run reports whom it waits for, and waits.

    doing: what the holder does, for that note (`building llama.cpp`). The kernel's lock as above.
    """
    with _lock_file(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(Note(f"waiting for process {_holder(handle)}, which is {doing}"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        _write_holder(handle)
        yield


@contextlib.contextmanager
def _lock_file(folder: Path) -> Iterator[int]:
    """The open lock file of a folder; closing it releases the lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise MachineError(
            f"cannot write into `{folder}`: {error.strerror or error}",
            hint="check the permissions of the folder, or choose another one",
        ) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    """The process id that the holder of the lock wrote into it."""
    return os.read(handle, 64).decode("ascii", "replace").strip() or "unknown"


def _write_holder(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _lock_within(handle: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_RELEASE_S / 20)
        else:
            return True
