"""Runs one shell command in a fresh copy of a repository and returns its exit code."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

TEXT_BYTES = 16 * 1024
"""How much of the end of the command's output is sent back."""


def copy(folder: Path, goal: Path) -> None:
    """Copy a folder's files and links. Copies are writable and keep their executable bits."""
    goal.mkdir()
    for path in folder.iterdir():
        target = goal / path.name
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_dir():
            copy(path, target)
        elif path.is_file():
            mode = 0o644 | path.stat().st_mode & 0o111
            # Created with its mode: the degraded profile denies changing it later.
            descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            with path.open("rb") as source, os.fdopen(descriptor, "wb") as stream:
                shutil.copyfileobj(source, stream)


def invoke(request: dict[str, Any], worker: Any) -> list[Any]:
    """Copy the repository, write the answer, run. Returns exit code and end of the output."""
    goal = Path(request["folder"]) / "repository"
    copy(Path(request["snapshot"]), goal)
    for name, text in request["files"].items():
        file = goal / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text, encoding="utf-8")
    # Outside the repository, so that no command finds it; a file, not a pipe, so that a daemon
    # that keeps it open does not block.
    output = Path(request["folder"]) / "output"
    worker.shut_off()
    with output.open("wb") as stream:
        ended = subprocess.run(
            ["/bin/sh", "-c", request["command"]],
            cwd=goal,
            env=os.environ | request["environment"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    with output.open("rb") as stream:
        stream.seek(max(0, output.stat().st_size - TEXT_BYTES))
        text = stream.read().decode("utf-8", "backslashreplace")
    tagged: list[Any] = worker.plain([ended.returncode, text])
    return tagged
