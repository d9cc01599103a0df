"""Compiling a C++ source of this package to a library, once for each compiler and processor.

Promise: a library under its name is complete, and was made from exactly these sources by this
compiler for a processor with these instruction sets. Not covered: whether it computes correctly.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from journeyman.errors import MachineError
from journeyman.events import Note, Reporter, ignore
from journeyman.machine.processor import processor_flags
from journeyman.runs import cache_folder, wait_for_folder_lock

# Without automatic contraction to FMA, all compilers round alike.
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-pthread",
)  # fmt: skip
_SOURCES = Path(__file__).parent / "source"
_COMPILERS = ("c++", "g++", "clang++")
_LIMIT_S = 300.0
_HINT = "a C++ compiler makes it faster: `sudo apt install g++`, or `sudo dnf install gcc-c++`"


def build_library(name: str, report: Reporter = ignore) -> Path:
    """The library of `source/NAME.cpp` and the headers beside it, built if it is missing.

    Raises MachineError if there is no compiler, it fails, or the cache cannot be written.
    """
    compiler = find_compiler()
    folder = cache_folder() / "kernels"
    path = folder / f"{name}-{_identity(compiler)}.so"
    if path.is_file():
        return path
    with wait_for_folder_lock(folder, "building the same library", report):
        if not path.is_file():
            report(
                Note(
                    f"building the kernel `{name}` once for this processor; this takes some seconds"
                )
            )
            _compile(compiler, _SOURCES / f"{name}.cpp", path)
    return path


def find_compiler() -> list[str]:
    """The command of the C++ compiler: `$CXX`, or the first one on PATH."""
    given = shlex.split(os.environ.get("CXX", ""))
    for command in [given] if given else [[name] for name in _COMPILERS]:
        program = shutil.which(command[0])
        if program is not None:
            return [program, *command[1:]]
    missing = f"CXX names `{given[0]}`, which was not found" if given else "no C++ compiler on PATH"
    raise MachineError(missing, hint=_HINT)


def _identity(compiler: list[str]) -> str:
    """A hash of everything that the library depends on, the processor's instructions included."""
    sources = sorted(_SOURCES.iterdir())
    parts = [path.name.encode() + b"\0" + path.read_bytes() for path in sources if path.is_file()]
    words = (*compiler, _run([*compiler, "--version"]), *FLAGS, platform.machine())
    parts += [word.encode() for word in (*words, *sorted(processor_flags()))]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _compile(compiler: list[str], source: Path, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        _run([*compiler, *FLAGS, "-o", str(made), str(source)])
        made.replace(path)


def _run(command: list[str]) -> str:
    """The output of a compiler's command. Raises MachineError with its first error."""
    try:
        process = subprocess.run(
            command, capture_output=True, check=True, timeout=_LIMIT_S, encoding="utf-8",
            errors="replace",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if "error" in line]
        reason = lines[0] if lines else f"exit code {error.returncode}"
        raise MachineError(f"`{command[0]}` failed: {reason}", hint=_HINT) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"`{command[0]}` failed: {error}", hint=_HINT) from error
    return process.stdout
