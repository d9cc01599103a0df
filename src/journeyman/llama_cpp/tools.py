"""The programs of llama.cpp that this project uses, and how to find all of them in folders.

The converter, the quantiser and the server must come from one tree: otherwise a GGUF is written by
one version and read by another, and may differ without any sign.
"""

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.files import sha256_of
from journeyman.llama_cpp.source import VOCABULARIES
from journeyman.machine.processes import describe_exit, plain_environment

PROGRAMS = {
    "server": "llama-server",
    "quantize": "llama-quantize",
    "imatrix": "llama-imatrix",
    "bench": "llama-bench",
    "perplexity": "llama-perplexity",
}
CONVERTER = "convert_hf_to_gguf.py"
CONVERTER_PARTS = ("conversion", "gguf-py")

# Flags that `journeyman.inference.llama_server` passes: a server without one of them is too old.
SERVER_FLAGS = (
    "--api-key-file",
    "--cache-ram",
    "--cors-origins",
    "--load-mode",
    "--no-slots",
    "--no-ui",
    "--offline",
    "--skip-chat-parsing",
)
_HELP_LIMIT_S = 60.0


class Tools(Struct, frozen=True):
    """The path of each program; `source` is the folder of the converter and its packages.

    `identity` names this build: its results can be reused only with the same build. `origin` says
    where it was found: `environment`, `cache` or `path`. `vocabularies` is the folder with the
    files of `source.VOCABULARIES`, or None if one is missing.
    """

    server: Path
    quantize: Path
    imatrix: Path
    bench: Path
    perplexity: Path
    converter: Path
    source: Path
    identity: str
    origin: str
    vocabularies: Path | None = None


class ToolSearch(Struct, frozen=True):
    """The tools that some folders contain, and the names of those that they lack."""

    programs: dict[str, Path]
    converter: Path | None
    missing: tuple[str, ...]


def search_tools(program_folders: Iterable[Path], converter_folders: Iterable[Path]) -> ToolSearch:
    """Look for the tools in these folders; the first folder that has one wins."""
    folders = list(program_folders)
    programs: dict[str, Path] = {}
    for field, name in PROGRAMS.items():
        path = next((p / name for p in folders if _is_program(p / name)), None)
        if path is not None:
            programs[field] = path.absolute()
    converter = next((c for c in (p / CONVERTER for p in converter_folders) if c.is_file()), None)
    missing = [name for field, name in PROGRAMS.items() if field not in programs]
    if converter is None:
        missing.append(CONVERTER)
    else:
        # It may be a link into its tree: the packages are beside the file itself.
        converter = converter.resolve()
        missing += [f"{p}/" for p in CONVERTER_PARTS if not (converter.parent / p).is_dir()]
    return ToolSearch(programs, converter, tuple(missing))


def _is_program(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o111)


def complete_tools(search: ToolSearch, *, identity: str, origin: str) -> Tools:
    """The tools of a search that found all of them."""
    converter = search.converter
    assert converter is not None
    assert not search.missing
    has_vocabularies = all((converter.parent / name).is_file() for name in VOCABULARIES)
    return Tools(
        **search.programs,
        converter=converter,
        source=converter.parent,
        identity=identity,
        origin=origin,
        vocabularies=converter.parent / "models" if has_vocabularies else None,
    )


def content_identity(search: ToolSearch) -> str:
    """The identity of tools that somebody else built, from a hash of their files.

    Covers the programs, the shared libraries beside them, and the converter's Python files.
    """
    assert search.converter is not None
    source = search.converter.parent
    files = {*search.programs.values(), search.converter}
    for program in search.programs.values():
        files |= set(program.parent.glob("lib*.so*"))
    for part in CONVERTER_PARTS:
        files |= set((source / part).rglob("*.py"))
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: (path.name, str(path))):
        if path.is_file():
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return f"own-{digest.hexdigest()[:12]}"


def missing_flags(server: Path) -> list[str]:
    """The flags of `SERVER_FLAGS` that a server does not know; empty if it is recent enough.

    Raises MachineError if the program does not run at all (another processor, a missing library).
    """
    try:
        process = subprocess.run(
            [str(server), "--help"],
            capture_output=True,
            check=False,
            timeout=_HELP_LIMIT_S,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"`{server}` does not run: {error}") from error
    if process.returncode != 0:
        tail = process.stderr.decode("utf-8", "replace").strip()[-300:]
        raise MachineError(f"`{server} --help` {describe_exit(process.returncode)}: {tail}")
    text = process.stdout.decode("utf-8", "replace") + process.stderr.decode("utf-8", "replace")
    return [flag for flag in SERVER_FLAGS if flag not in text]
