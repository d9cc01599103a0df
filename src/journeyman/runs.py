"""Run folders: the manifest that says what a folder holds, whether it is fresh, and who owns it."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from journeyman.errors import IntegrityError, MachineError
from journeyman.files import sha256_of, write_json
from journeyman.machine.processor import describe_machine
from journeyman.records import Manifest

MANIFEST = "manifest.json"

SCHEMA = 1

_DYING_S = 2.0

_RECORDED = ("journeyman", "torch", "transformers", "peft", "tokenizers", "safetensors")


def cache_folder() -> Path:
    """Where lies what is made once for all runs: `$JOURNEYMAN_CACHE`, else the user's cache."""
    given = os.environ.get("JOURNEYMAN_CACHE")
    if given:
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "journeyman"


def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on; nothing is imported to learn them."""
    found = {"python": platform.python_version()}
    for name in _RECORDED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


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
    """Write the manifest of a finished folder; it must be the last file written there.

    outputs: relative path -> sha256; where None, every file below the folder is hashed now.
    """
    found = hash_files(folder) if outputs is None else dict(outputs)
    found.pop(name, None)
    manifest = Manifest(
        stage=stage,
        settings={key: msgspec.to_builtins(value, enc_hook=str) for key, value in settings.items()},
        inputs=dict(inputs),
        outputs=found,
        versions=versions(),
        machine=describe_machine(),
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        schema=SCHEMA,
        facts=dict(facts or {}),
    )
    write_json(folder / name, manifest)
    return manifest


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder by relative path; unfinished ones (`.tmp-…`) left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    relative = {str(path.relative_to(folder)): path for path in files}
    return {name: sha256_of(path) for name, path in relative.items() if ".tmp-" not in name}


def read_manifest(folder: Path, *, name: str = MANIFEST) -> Manifest | None:
    """The folder's manifest, or None where there is none. Raises IntegrityError when unreadable."""
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
    """The files that the manifest promises and that are missing or hold other bytes."""
    return [
        name
        for name, promised in manifest.outputs.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != promised
    ]


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; a second run is refused, with the holder's id.

    The lock is the kernel's (flock): it ends with its process, however that ends. A process that
    was killed a moment ago may still be handing back its memory, so that is waited for.
    """
    with _lock_file(folder) as handle:
        if not _locked_within(handle, _DYING_S):
            raise MachineError(
                f"`{folder}` is in use by process {_holder(handle)}",
                hint="wait for it, stop it, or name another output folder",
            )
        _sign(handle)
        yield


@contextlib.contextmanager
def one_at_a_time(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold a folder that several runs fill together; a second one waits for the first to leave.

    waiting: called once, with the holder's process id, before the wait. The kernel's lock, too.
    """
    with _lock_file(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting(_holder(handle))
            fcntl.flock(handle, fcntl.LOCK_EX)
        _sign(handle)
        yield


@contextlib.contextmanager
def _lock_file(folder: Path) -> Iterator[int]:
    """The open lock file of a folder; closing it lets go of the lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise MachineError(
            f"cannot write into `{folder}`: {error.strerror or error}",
            hint="check the permissions of the folder, or name another one",
        ) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    """The process id that the lock's owner has left in it."""
    return os.read(handle, 64).decode("ascii", "replace").strip() or "unknown"


def _sign(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _locked_within(handle: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_DYING_S / 20)
        else:
            return True
