"""Kills a process at the n-th thing it asks of the file system, from the test's side alone.

In a forked child, each function through which a save reaches the disk is wrapped: before it is
called, a count goes up, and at the chosen number the child kills itself with SIGKILL. Tensors have
a second point, at which half of their file is written.
"""

import io
import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn

import safetensors.torch

from journeyman.model import adapter_files

_NAMES = ("open", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")


def killed_at(point: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that dies at a point, from 1; False where it has fewer points."""
    child = os.fork()
    if child == 0:
        _do(point, work)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}, code
    return code == -signal.SIGKILL


def _do(point: int, work: Callable[[], object]) -> NoReturn:
    left = point

    def pass_one() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            pass_one()
            return call(*arguments, **named)

        return wrapped

    def save_file(tensors: Any, path: Any, metadata: Any) -> None:
        pass_one()
        data = safetensors.torch.save(tensors, metadata)
        path.write_bytes(data[: len(data) // 2])
        pass_one()
        path.write_bytes(data)

    try:
        for name in _NAMES:
            setattr(os, name, counted(getattr(os, name)))
        io.open = counted(io.open)
        setattr(adapter_files, "save_file", save_file)  # noqa: B010
        work()
        os._exit(0)
    finally:
        os._exit(1)
