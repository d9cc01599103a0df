"""A kernel of this package, ready to use, or the reason why there is none."""

import ctypes
import platform
from collections.abc import Callable, Sequence
from typing import TypeVar

from journeyman.errors import MachineError
from journeyman.events import Note, Reporter
from journeyman.kernels.building import built_library
from journeyman.runs import processor_flags

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
        cannot(f"this processor has no {' and no '.join(missing or needed).upper()}")
        return None
    try:
        kernel = loaded(_library(name, report))
    except MachineError as error:
        cannot(f"{error.message}; {error.hint}")
        return None
    if not is_right(kernel):
        cannot("it computed wrongly on this machine")
        return None
    return kernel


def _library(name: str, report: Reporter) -> ctypes.CDLL:
    # torch first: the library then finds its thread pool and needs none of its own.
    import torch  # noqa: F401

    path = built_library(name, report)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise MachineError(f"`{path}` cannot be loaded: {error}", hint="remove it") from error
