"""Building a C++ source of this package into a library, once for each compiler and processor.

Promise: a library under its name is whole, and was made from exactly these sources by this
compiler for a processor with these instruction sets. Not covered: what it computes.
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

# Without contraction to FMA, every compiler rounds alike.
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-pthread",
)  # fmt: skip
_SOURCES = Path(__file__).parent / "source"
_COMPILERS = ("c++", "g++", "clang++")
_LIMIT_S = 300.0
_HINT = "a C++ compiler makes it faster: `sudo apt install g++`, or `sudo dnf install gcc-c++`"


def built_library(name: str, report: Reporter = ignore) -> Path:
    """The library made from `source/NAME.cpp` and the headers beside it; built where it is missing.

    Raises MachineError where there is no compiler, it fails, or the cache cannot be written.
    """
    compiler = find_compiler()
    folder = cache_folder() / "kernels"
    path = folder / f"{name}-{_identity(compiler)}.so"
    if path.is_file():
        return path
    with wait_for_folder_lock(folder, "building the same library", report):
        if not path.is_file():
            report(Note(f"building `{name}` once for this processor, some seconds"))
            _compile(compiler, _SOURCES / f"{name}.cpp", path)
    return path


def find_compiler() -> list[str]:
    """The command of the C++ compiler: `$CXX`, else the first that PATH has."""
    given = shlex.split(os.environ.get("CXX", ""))
    for command in [given] if given else [[name] for name in _COMPILERS]:
        program = shutil.which(command[0])
        if program is not None:
            return [program, *command[1:]]
    missing = f"`{given[0]}` of CXX is not there" if given else "PATH has no C++ compiler"
    raise MachineError(missing, hint=_HINT)


def _identity(compiler: list[str]) -> str:
    """A hash of all that decides what the library is: a lesser processor could not run it."""
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
    """What a compiler's command says on stdout. Raises MachineError with its first complaint."""
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=_LIMIT_S, encoding="utf-8",
            errors="replace",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if "error" in line]
        what = lines[0] if lines else f"exit code {error.returncode}"
        raise MachineError(f"`{command[0]}` failed: {what}", hint=_HINT) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"`{command[0]}` failed: {error}", hint=_HINT) from error
    return done.stdout
