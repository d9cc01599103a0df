"""Finding llama.cpp's tools: the user's own, in the cache, on PATH, or by building them.

The cache holds one folder per build, `llama.cpp/IDENTITY`, complete or absent. It is made under a
lock, so that of two runs one builds and the other waits. A tool that changed or vanished later is
noticed (size and time are compared each time, sha256 if they differ) and the build is made again.
A build without vocabularies, or with damaged ones, gets them and is otherwise left as it is.
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
    complete_tools,
    content_identity,
    missing_flags,
    search_tools,
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
    """llama.cpp's tools, built now if there are none.

    Looks in the folder that `JOURNEYMAN_LLAMA_CPP` names, in the user's cache, and on PATH (if all
    tools and their converter are there together and recent enough), in this order.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return tools_in(Path(named).expanduser())
    home, identity = cache_folder() / "llama.cpp", build_identity()
    tools = (
        tools_in_cache(home, identity, report)
        or tools_on_path(report)
        or build_into_cache(home, identity, build_tools, report)
    )
    if tools.origin == "cache" and tools.vocabularies is None:
        return with_vocabularies(home, tools, fetch_vocabularies, report)
    return tools


def tools_in(folder: Path) -> Tools:
    """The tools in a folder that the user named: with the programs, `bin/` or `build/bin/`."""
    if not folder.is_dir():
        raise UsageError(f"{VARIABLE} names `{folder}`, which is not a folder")
    search = search_tools((folder, folder / "bin", folder / "build" / "bin"), (folder,))
    if search.missing:
        raise UsageError(
            f"{VARIABLE} names `{folder}`, where these are missing: {', '.join(search.missing)}",
            hint=f"build them there, name another folder, or unset {VARIABLE} to have them built",
        )
    unknown = missing_flags(search.programs["server"])
    if unknown:
        raise UsageError(
            f"the llama-server in `{folder}` is too old: it does not know {', '.join(unknown)}",
            hint=f"use a newer llama.cpp, or unset {VARIABLE}",
        )
    return complete_tools(search, identity=content_identity(search), origin="environment")


def tools_on_path(report: Reporter = ignore) -> Tools | None:
    """The tools on PATH, or None if they are incomplete, not from one tree, or too old."""
    server = shutil.which(PROGRAMS["server"])
    if server is None:
        return None
    search = _search_around(Path(server))
    if search.missing:
        report(Note(f"`{server}` is not used: {', '.join(search.missing)} not found with it"))
        return None
    try:
        unknown = missing_flags(search.programs["server"])
    except MachineError as error:
        report(Note(f"`{server}` is not used: {error}"))
        return None
    if unknown:
        report(Note(f"`{server}` is not used: too old, it does not know {', '.join(unknown)}"))
        return None
    return complete_tools(search, identity=content_identity(search), origin="path")


def _search_around(server: Path) -> ToolSearch:
    """The tools in the server's own folder, with a converter there or up to two folders above."""
    folders = list(dict.fromkeys((server.parent, server.resolve().parent)))
    above = [p for folder in folders for p in (folder, folder.parent, folder.parent.parent)]
    return search_tools(folders, above)


def tools_in_cache(home: Path, identity: str, report: Reporter = ignore) -> Tools | None:
    """The tools of one build in the cache, checked; None if they are missing or damaged."""
    folder = home / identity
    try:
        manifest = read_manifest(folder)
        damaged = [] if manifest is None else _damaged(folder, manifest)
    except IntegrityError as error:
        report(Caution(f"llama.cpp will be built again: {error}"))
        return None
    if manifest is None:
        return None
    search = search_tools((folder / "bin",), (folder,))
    lost = [name for name in damaged if name not in VOCABULARIES]
    if lost or search.missing:
        names = ", ".join((*lost, *search.missing))
        report(
            Caution(
                f"llama.cpp in `{folder}` is damaged ({names}) and will be built again",
                hint="if this happens again, check the disk",
            )
        )
        return None
    tools = complete_tools(search, identity=identity, origin="cache")
    if damaged or not manifest.outputs.keys() >= set(VOCABULARIES):
        return msgspec.structs.replace(tools, vocabularies=None)
    return tools


def _damaged(folder: Path, manifest: Manifest) -> list[str]:
    """The files that differ from the manifest. Hashes only if sizes or times have changed."""
    now = _sizes_and_times(folder, manifest)
    stamp = folder / _STAMP
    try:
        verified = msgspec.json.decode(stamp.read_bytes(), type=dict[str, tuple[int, int]])
    except (OSError, msgspec.DecodeError):
        verified = {}
    if verified == now:
        return []
    damaged = damaged_outputs(folder, manifest)
    if not damaged:
        # A read-only cache still works: its files are then hashed each time.
        with contextlib.suppress(MachineError):
            write_json(stamp, now)
    return damaged


def _sizes_and_times(folder: Path, manifest: Manifest) -> dict[str, tuple[int, int]]:
    stamps = {}
    for name in manifest.outputs:
        with contextlib.suppress(OSError):
            status = (folder / name).stat()
            stamps[name] = (status.st_size, status.st_mtime_ns)
    return stamps


def build_into_cache(home: Path, identity: str, build: Build, report: Reporter = ignore) -> Tools:
    """Build the tools into the cache, or wait for the process that does and use its build."""
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
        raise MachineError(f"llama.cpp was built but is incomplete; the log is `{log}`")
    return tools


def with_vocabularies(home: Path, tools: Tools, fetch: Build, report: Reporter = ignore) -> Tools:
    """Fetch the vocabularies of tools in the cache; if that fails, the tools without them.

    The programs are kept: building them again would take many minutes.
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
            report(Caution(f"llama.cpp's vocabularies are missing: {error}", hint=error.hint))
    return tools_in_cache(home, tools.identity) or tools


def _add_vocabularies(folder: Path, source: Path) -> None:
    """Move them into a build's folder, and name them in its manifest last."""
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
    # We hold the lock, so what is unfinished now was left by a killed build.
    for path in home.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)
