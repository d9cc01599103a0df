"""The programs of llama.cpp that this project uses, and what a folder of them must hold.

The converter, the quantiser and the server must come from one tree: a GGUF written by one version
and read by another is where silent differences come from.
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

# What `journeyman.inference.llama_server` passes: a server without one of these is too old.
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
    """Where each program lies. `source` holds the converter with its `conversion` and `gguf-py`.

    `identity` names this build: what it made can be reused by the same build only. `origin` says
    where it was found: `environment`, `cache` or `path`. `vocabularies` is the folder that holds
    the files of `source.VOCABULARIES`, None where one is missing.
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
    """What of the tools lies in some folders, and the names of what does not."""

    programs: dict[str, Path]
    converter: Path | None
    missing: tuple[str, ...]


def look_in(program_folders: Iterable[Path], converter_folders: Iterable[Path]) -> ToolSearch:
    """The tools that lie in the folders given; the first folder that has one wins."""
    places = list(program_folders)
    programs: dict[str, Path] = {}
    for field, name in PROGRAMS.items():
        found = next((p / name for p in places if _is_program(p / name)), None)
        if found is not None:
            programs[field] = found.absolute()
    converter = next((c for c in (p / CONVERTER for p in converter_folders) if c.is_file()), None)
    missing = [name for field, name in PROGRAMS.items() if field not in programs]
    if converter is None:
        missing.append(CONVERTER)
    else:
        # A link leads to its tree: the parts stand beside the file itself.
        converter = converter.resolve()
        missing += [f"{p}/" for p in CONVERTER_PARTS if not (converter.parent / p).is_dir()]
    return ToolSearch(programs, converter, tuple(missing))


def _is_program(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o111)


def as_tools(found: ToolSearch, *, identity: str, origin: str) -> Tools:
    """The record of tools of which none is missing."""
    converter = found.converter
    assert converter is not None
    assert not found.missing
    are_there = all((converter.parent / name).is_file() for name in VOCABULARIES)
    return Tools(
        **found.programs,
        converter=converter,
        source=converter.parent,
        identity=identity,
        origin=origin,
        vocabularies=converter.parent / "models" if are_there else None,
    )


def content_identity(found: ToolSearch) -> str:
    """A name for tools that somebody else built: equal files, equal name.

    Covers the programs, the shared libraries beside them, and the converter's Python files.
    """
    assert found.converter is not None
    source = found.converter.parent
    files = {*found.programs.values(), found.converter}
    for program in found.programs.values():
        files |= set(program.parent.glob("lib*.so*"))
    for part in CONVERTER_PARTS:
        files |= set((source / part).rglob("*.py"))
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: (path.name, str(path))):
        if path.is_file():
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return f"own-{digest.hexdigest()[:12]}"


def missing_flags(server: Path) -> list[str]:
    """The flags that this project passes and that a server does not know: empty when it will do.

    Raises MachineError where the program does not run at all (another processor, a lost library).
    """
    try:
        done = subprocess.run(
            [str(server), "--help"],
            capture_output=True,
            check=False,
            timeout=_HELP_LIMIT_S,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"`{server}` does not run: {error}") from error
    if done.returncode != 0:
        tail = done.stderr.decode("utf-8", "replace").strip()[-300:]
        raise MachineError(f"`{server} --help` {describe_exit(done.returncode)}: {tail}")
    text = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
    return [flag for flag in SERVER_FLAGS if flag not in text]
