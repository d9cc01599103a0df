"""Loading a kernel of this package, or reporting why it cannot be used."""

import ctypes
import functools
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from journeyman.errors import MachineError
from journeyman.events import Note, Reporter
from journeyman.kernels.compiling import build_library
from journeyman.machine.processor import processor_flags

Kernel = TypeVar("Kernel")


def find_kernel(
    name: str,
    load: Callable[[ctypes.CDLL], Kernel],
    is_correct: Callable[[Kernel], bool],
    *,
    what: str,
    needed: Sequence[str],
    report: Reporter,
) -> Kernel | None:
    """The kernel of `source/NAME.cpp`, built on first use; None, and a Note, if it cannot be used.

    is_correct: whether the kernel computes correctly on this machine. needed: processor flags.
    """

    def refuse(reason: str) -> None:
        report(Note(f"{what} cannot be used: {reason}"))

    missing = [flag for flag in needed if flag not in processor_flags()]
    if platform.machine() not in ("x86_64", "AMD64") or missing:
        named = " and no ".join(flag.upper() for flag in missing or needed)
        refuse(f"this processor has no {named}")
        return None
    try:
        library = _library(build_library(name, report))
    except MachineError as error:
        refuse(f"{error.message}; {error.hint}")
        return None
    kernel = load(library)
    if not _is_correct(library, is_correct, kernel):
        refuse("it gave a wrong result on this machine")
        return None
    return kernel


# The result of the check of each library in this process: it takes a tenth of a second.
_CHECKED: dict[ctypes.CDLL, bool] = {}


def _is_correct(library: ctypes.CDLL, is_correct: Callable[[Kernel], bool], kernel: Kernel) -> bool:
    if library not in _CHECKED:
        _CHECKED[library] = is_correct(kernel)
    return _CHECKED[library]


@functools.cache
def _library(path: Path) -> ctypes.CDLL:
    # torch first, so that the library finds torch's thread pool and starts none of its own.
    import torch  # noqa: F401

    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise MachineError(f"`{path}` cannot be loaded: {error}", hint="remove it") from error
