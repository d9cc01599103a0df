"""Building the pinned tools for this processor, from source to checked programs."""

import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from journeyman.errors import MachineError
from journeyman.events import Note, Progress, ProgressEnded, Reporter, ignore
from journeyman.files import require_space
from journeyman.llama_cpp.source import (
    OWN_TOOLS_HINT,
    SHA256,
    VERSION,
    VOCABULARIES,
    fetch_source,
    unpack_source,
)
from journeyman.llama_cpp.tools import CONVERTER, CONVERTER_PARTS, PROGRAMS, missing_flags
from journeyman.machine.memory_limits import physical_memory_bytes
from journeyman.machine.processes import run_logged
from journeyman.machine.processor import CPUINFO, processor_flags, usable_processors

NEEDED_BYTES = 500 * 2**20
_COMPILER_BYTES = 2**30
_TASK = "build llama.cpp"

# UI: by default it is fetched ready-made from a model hub. Subprocess: only the server's own agent
# tools need it, a shell among them. Number and commit: by default those of any git repository
# around the cache folder.
CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_ALL_WARNINGS=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    f"-DLLAMA_BUILD_COMMIT={VERSION}",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_NUMBER=0",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)


def build_identity(cpuinfo: Path = CPUINFO) -> str:
    """The name of the build for this processor: a hash of version, flags and instruction sets.

    A processor with fewer instruction sets cannot run programs built with GGML_NATIVE.
    """
    flags = sorted(processor_flags(cpuinfo)) or [platform.processor()]
    parts = (SHA256, *CMAKE_FLAGS, *PROGRAMS.values(), platform.machine(), *flags)
    return f"{VERSION}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def build_tools(folder: Path, log: Path, report: Reporter = ignore) -> None:
    """Fetch, unpack and compile llama.cpp; put its tools and their converter into a folder."""
    cmake, ninja = _builders()
    require_compiler()
    require_space(folder, NEEDED_BYTES, "building llama.cpp")
    report(Note("building llama.cpp once for this processor; this takes some minutes"))
    with tempfile.TemporaryDirectory(prefix=".tmp-source-", dir=folder.parent) as scratch:
        archive = fetch_source(Path(scratch), log, report)
        source = unpack_source(archive, Path(scratch) / "llama.cpp")
        archive.unlink()
        build = Path(scratch) / "build"
        environment = {**os.environ, "NINJA_STATUS": "[%f/%t] "}
        configure: list[str | Path] = [cmake, "-S", source, "-B", build, "-G", "Ninja"]
        configure += [f"-DCMAKE_MAKE_PROGRAM={ninja}", *CMAKE_FLAGS]
        run_logged(
            configure,
            doing="preparing the build of llama.cpp",
            log=log,
            environment=environment,
            hint=OWN_TOOLS_HINT,
        )
        run_logged(
            [ninja, "-C", build, "-j", str(_jobs()), *PROGRAMS.values()],
            doing="building llama.cpp",
            log=log,
            environment=environment,
            on_line=NinjaLines(report),
            hint=OWN_TOOLS_HINT,
        )
        _collect(source, build, folder)
    unknown = missing_flags(folder / "bin" / PROGRAMS["server"])
    if unknown:
        raise MachineError(f"the new llama-server does not know {', '.join(unknown)}")
    report(ProgressEnded(_TASK, f"built in `{folder.parent}`"))


def _builders() -> tuple[str, str]:
    # First beside the interpreter, where this project's dependencies put their programs.
    folders = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    programs = {name: shutil.which(name, path=folders) for name in ("cmake", "ninja")}
    cmake, ninja = programs["cmake"], programs["ninja"]
    if cmake is None or ninja is None:
        names = " ".join(name for name, path in programs.items() if path is None)
        raise MachineError(
            f"building llama.cpp needs {names.replace(' ', ' and ')}",
            hint=f"pip install {names}; {OWN_TOOLS_HINT}",
        )
    return cmake, ninja


def require_compiler() -> None:
    """Raise MachineError with the commands that install a C and C++ compiler, if one is missing."""
    missing = [
        language
        for language, variable, names in (
            ("C", "CC", ("cc", "gcc", "clang")),
            ("C++", "CXX", ("c++", "g++", "clang++")),
        )
        if not any(shutil.which(n) for n in (os.environ.get(variable, "").split()[:1] or names))
    ]
    if missing:
        raise MachineError(
            f"building llama.cpp needs a {' and a '.join(missing)} compiler, but PATH has none",
            hint="Debian, Ubuntu: sudo apt install build-essential; "
            f"Fedora: sudo dnf install gcc gcc-c++; {OWN_TOOLS_HINT}",
        )


def _jobs() -> int:
    # Each compiler takes up to 1 GiB here; more of them than the memory holds would swap.
    return max(1, min(usable_processors(), physical_memory_bytes() // _COMPILER_BYTES))


class NinjaLines:
    """Turns ninja's `[n/m] …` lines into progress with the time left."""

    def __init__(self, report: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self.report = report
        self.clock = clock
        self.started = clock()

    def __call__(self, line: str) -> None:
        """Report a line's progress; other lines are ignored."""
        step = re.match(r"\[(\d+)/(\d+)\] ", line)
        if step is None:
            return
        done, total = int(step[1]), int(step[2])
        if not 0 < done <= total:
            return
        remaining_s = (self.clock() - self.started) / done * (total - done)
        self.report(Progress(_TASK, done, total, "steps", remaining_s=remaining_s))


def _collect(source: Path, build: Path, folder: Path) -> None:
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS.values():
        shutil.copy2(build / "bin" / name, programs / name)
    for name in (CONVERTER, "LICENSE"):
        shutil.copy2(source / name, folder / name)
    # The converter reads a few chat templates beside it.
    for name in (*CONVERTER_PARTS, "models/templates"):
        shutil.copytree(source / name, folder / name)
    for name in VOCABULARIES:
        shutil.copy2(source / name, folder / name)
