"""Finding llama.cpp's tools: the user's own, the cache, PATH, or a build into the cache.

The cache holds one folder a build, `llama.cpp/IDENTITY`, complete or not there at all. It is made
under a lock, so that of two runs one builds and the other waits. A tool that was changed or lost
later is noticed (size and time each time, sha256 when those differ) and the folder built again.
A build without its vocabularies, or with damaged ones, gets them and stays as it is otherwise.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from journeyman.errors import IntegrityError, MachineError, UpstreamError, UsageError
from journeyman.events import Caution, Note, Reporter, ignore
from journeyman.files import atomic_folder, sha256_of, write_json
from journeyman.llama_cpp.building import CMAKE_FLAGS, build_identity, build_tools
from journeyman.llama_cpp.source import ARCHIVE, SHA256, VOCABULARIES, fetch_vocabularies
from journeyman.llama_cpp.tools import (
    PROGRAMS,
    Tools,
    ToolSearch,
    as_tools,
    content_identity,
    look_in,
    missing_flags,
)
from journeyman.records import Manifest
from journeyman.runs import (
    cache_folder,
    damaged_outputs,
    read_manifest,
    wait_for_folder_lock,
    write_manifest,
)

VARIABLE = "JOURNEYMAN_LLAMA_CPP"
_STAMP = "verified.json"

Build = Callable[[Path, Path, Reporter], None]
"""Fills an empty folder with tools or vocabularies, writing a log: (folder, log, report)."""


def find_tools(report: Reporter = ignore) -> Tools:
    """llama.cpp's tools, built now if there are none. The first of these that has them:

    the folder that `JOURNEYMAN_LLAMA_CPP` names, the user's cache, PATH (where all tools and their
    converter lie together and are recent), a build.
    """
    home = _home()
    tools = _existing(report) or build_into_cache(home, build_identity(), build_tools, report)
    if tools.origin == "cache" and tools.vocabularies is None:
        return with_vocabularies(home, tools, fetch_vocabularies, report)
    return tools


def existing_tools() -> Tools | None:
    """llama.cpp's tools where they are already, found as `find_tools` does; nothing is made."""
    return _existing(ignore)


def _existing(report: Reporter) -> Tools | None:
    given = os.environ.get(VARIABLE)
    if given:
        return tools_in(Path(given).expanduser())
    return tools_in_cache(_home(), build_identity(), report) or tools_on_path(report)


def _home() -> Path:
    return cache_folder() / "llama.cpp"


def tools_in(folder: Path) -> Tools:
    """The tools in a folder that the user named: a build's folder or a tree with `build/bin`."""
    if not folder.is_dir():
        raise UsageError(f"{VARIABLE} names `{folder}`, which is not a folder")
    found = look_in((folder, folder / "bin", folder / "build" / "bin"), (folder,))
    if found.missing:
        raise UsageError(
            f"{VARIABLE} names `{folder}`, where these are missing: {', '.join(found.missing)}",
            hint="build those targets there, name another folder, or unset it to have them built",
        )
    lacking = missing_flags(found.programs["server"])
    if lacking:
        raise UsageError(
            f"the llama-server in `{folder}` is too old: it does not know {', '.join(lacking)}",
            hint="use a newer llama.cpp, or unset " + VARIABLE,
        )
    return as_tools(found, identity=content_identity(found), origin="environment")


def tools_on_path(report: Reporter = ignore) -> Tools | None:
    """The tools on PATH, or None where they are not complete, not of one tree, or too old."""
    server = shutil.which(PROGRAMS["server"])
    if server is None:
        return None
    found = _beside(Path(server))
    if found.missing:
        report(Note(f"`{server}` is not used: {', '.join(found.missing)} not found with it"))
        return None
    try:
        lacking = missing_flags(found.programs["server"])
    except MachineError as error:
        report(Note(f"`{server}` is not used: {error}"))
        return None
    if lacking:
        report(Note(f"`{server}` is not used: too old, it does not know {', '.join(lacking)}"))
        return None
    return as_tools(found, identity=content_identity(found), origin="path")


def _beside(server: Path) -> ToolSearch:
    """What lies in the server's own folder, with a converter there or in a tree above it."""
    folders = list(dict.fromkeys((server.parent, server.resolve().parent)))
    above = [p for folder in folders for p in (folder, folder.parent, folder.parent.parent)]
    return look_in(folders, above)


def tools_in_cache(home: Path, identity: str, report: Reporter = ignore) -> Tools | None:
    """The tools of one build in the cache, checked; None where they are not there or damaged."""
    folder = home / identity
    try:
        manifest = read_manifest(folder)
        damaged = [] if manifest is None else _damaged(folder, manifest)
    except IntegrityError as error:
        report(Caution(f"llama.cpp will be built again: {error}"))
        return None
    if manifest is None:
        return None
    found = look_in((folder / "bin",), (folder,))
    lost = [name for name in damaged if name not in VOCABULARIES]
    if lost or found.missing:
        names = ", ".join((*lost, *found.missing))
        report(
            Caution(
                f"llama.cpp in `{folder}` is damaged ({names}) and will be built again",
                hint="if this comes back, check the disk",
            )
        )
        return None
    tools = as_tools(found, identity=identity, origin="cache")
    if damaged or not manifest.outputs.keys() >= set(VOCABULARIES):
        return msgspec.structs.replace(tools, vocabularies=None)
    return tools


def _damaged(folder: Path, manifest: Manifest) -> list[str]:
    """Files that are not as the manifest promises. Hashes only what changed since the last look."""
    today = _sizes_and_times(folder, manifest)
    stamp = folder / _STAMP
    try:
        seen = msgspec.json.decode(stamp.read_bytes(), type=dict[str, tuple[int, int]])
    except (OSError, msgspec.DecodeError):
        seen = {}
    if seen == today:
        return []
    damaged = damaged_outputs(folder, manifest)
    if not damaged:
        # A cache that cannot be written to is still a cache: it is only hashed each time.
        with contextlib.suppress(MachineError):
            write_json(stamp, today)
    return damaged


def _sizes_and_times(folder: Path, manifest: Manifest) -> dict[str, tuple[int, int]]:
    found = {}
    for name in manifest.outputs:
        with contextlib.suppress(OSError):
            status = (folder / name).stat()
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


def build_into_cache(home: Path, identity: str, build: Build, report: Reporter = ignore) -> Tools:
    """Build the tools into the cache, or wait for the process that does and take what it made."""
    with wait_for_folder_lock(home, "building llama.cpp", report):
        tools = tools_in_cache(home, identity)
        if tools is not None:
            return tools
        _clear_unfinished(home)
        log = home / f"build-{identity}.log"
        log.unlink(missing_ok=True)
        with atomic_folder(home / identity, replace=True) as folder:
            build(folder, log, report)
            write_manifest(
                folder,
                stage="llama-cpp",
                settings={"cmake_flags": list(CMAKE_FLAGS)},
                inputs={ARCHIVE: SHA256},
            )
    tools = tools_in_cache(home, identity, report)
    if tools is None:
        raise MachineError(f"llama.cpp was built and is not whole; the log is `{log}`")
    return tools


def with_vocabularies(home: Path, tools: Tools, fetch: Build, report: Reporter = ignore) -> Tools:
    """The same tools of the cache with their vocabularies, fetched now; without, if that fails.

    The programs stay as they are: building them again would take many minutes.
    """
    folder = home / tools.identity
    with wait_for_folder_lock(home, "fetching llama.cpp's vocabularies", report):
        now = tools_in_cache(home, tools.identity)
        if now is not None and now.vocabularies is not None:
            return now
        try:
            with tempfile.TemporaryDirectory(prefix=".tmp-vocabularies-", dir=home) as scratch:
                fetch(Path(scratch), home / f"vocabularies-{tools.identity}.log", report)
                _add_vocabularies(folder, Path(scratch))
        except (IntegrityError, MachineError, UpstreamError) as error:
            report(Caution(f"llama.cpp's vocabularies are not there: {error}", hint=error.hint))
    return tools_in_cache(home, tools.identity) or tools


def _add_vocabularies(folder: Path, source: Path) -> None:
    """Move them into a build's folder; its manifest promises them once they are all there."""
    manifest = read_manifest(folder)
    if manifest is None:
        return
    added = {name: sha256_of(source / name) for name in VOCABULARIES}
    for name in added:
        (folder / name).parent.mkdir(exist_ok=True)
        (source / name).replace(folder / name)
    write_manifest(
        folder,
        stage=manifest.stage,
        settings=manifest.settings,
        inputs=manifest.inputs,
        outputs={**manifest.outputs, **added},
        facts=manifest.facts,
    )


def _clear_unfinished(home: Path) -> None:
    # We hold the lock: what is unfinished now was left by a build that was killed.
    for path in home.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)
