"""Kernels in their AVX-512 form anywhere: SIMDe carries out their instructions one by one."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from journeyman.kernels import compiling
from journeyman.machine.processor import processor_flags
from tests.needs import missing, this_machine

_FOLDER = Path(compiling.__file__).parent / "source"
_HEADERS = Path(__file__).parent / "emulation"
# Not of this machine's processor: it may have instructions that SIMDe would then use itself.
_FLAGS = (
    "-std=c++17", "-O2", "-march=x86-64-v3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread",
    "-DJOURNEYMAN_EMULATED", "-I", str(_HEADERS),
)  # fmt: skip


@functools.cache
def emulated(name: str) -> ctypes.CDLL:
    """The library of `source/NAME.cpp`, emulated; the test is skipped where it cannot be made."""
    if not {"avx2", "fma"} <= processor_flags():
        pytest.skip(this_machine("has no AVX2 and FMA"))
    if shutil.which("g++") is None:
        pytest.skip(missing("g++"))
    if not Path("/usr/include/simde/x86/avx512.h").is_file():
        pytest.skip(missing("SIMDe"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.so"
        command = ["g++", *_FLAGS, "-o", str(path), str(_FOLDER / f"{name}.cpp")]
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(path))
