"""A kernel of this package, ready to use, or the reason why there is none."""

import ctypes
import functools
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from journeyman.errors import MachineError
from journeyman.events import Note, Reporter
from journeyman.kernels.compiling import built_library
from journeyman.machine.processor import processor_flags

Kernel = TypeVar("Kernel")


def found_kernel(
    name: str,
    loaded: Callable[[ctypes.CDLL], Kernel],
    is_right: Callable[[Kernel], bool],
    *,
    what: str,
    needed: Sequence[str],
    report: Reporter,
) -> Kernel | None:
    """The kernel of `source/NAME.cpp`, built on first use; None where it cannot be had.

    The reason is a Note. is_right: whether it computes rightly here. needed: processor flags.
    """

    def cannot(why: str) -> None:
        report(Note(f"{what} cannot be used: {why}"))

    missing = [flag for flag in needed if flag not in processor_flags()]
    if platform.machine() not in ("x86_64", "AMD64") or missing:
        named = " and no ".join(flag.upper() for flag in missing or needed)
        cannot(f"this processor has no {named}")
        return None
    try:
        library = _library(built_library(name, report))
    except MachineError as error:
        cannot(f"{error.message}; {error.hint}")
        return None
    kernel = loaded(library)
    if not _is_right(library, is_right, kernel):
        cannot("it computed wrongly on this machine")
        return None
    return kernel


# Libraries that were tried in this process, with what the trial said: it takes a tenth of a second.
_TRIED: dict[ctypes.CDLL, bool] = {}


def _is_right(library: ctypes.CDLL, is_right: Callable[[Kernel], bool], kernel: Kernel) -> bool:
    if library not in _TRIED:
        _TRIED[library] = is_right(kernel)
    return _TRIED[library]


@functools.cache
def _library(path: Path) -> ctypes.CDLL:
    # torch first: the library then finds its thread pool and needs none of its own.
    import torch  # noqa: F401

    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise MachineError(f"`{path}` cannot be loaded: {error}", hint="remove it") from error
