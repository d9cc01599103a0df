"""Recipes that take turns, each in its own process: a line of JSON in, a line of JSON out.

So no recipe shares another's heap, peak memory or allocator settings. A process waits for input
while others are measured. If it ends without an answer, the last line of its stderr is reported.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from journeyman.machine.processor import BF16_FLAGS, processor_flags
from journeyman.records import BaseModel
from journeyman.train.batching.rows import TokenRow

FOLDER = Path(__file__).parent
PEER = FOLDER.parent / "build" / "peers" / "venv" / "bin" / "python3"
# The allocator settings of `journeyman.machine.torch_runtime`, as environment variables.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "20000000000"}
ALLOCATOR_SUFFIX = "+malloc"
_ENDING_S = 20.0


class WorkerEnded(Exception):
    """The process ended before it answered."""


@dataclass(frozen=True)
class Answer:
    """Seconds of one step, its loss a trained token, and the peak memory until then."""

    seconds: float
    loss: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Recipe:
    """How a recipe's process is started. padded: every row takes it equally long."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    padded: bool = False


class Worker:
    """One started process, which has loaded its model."""

    def __init__(self, recipe: Recipe, errors: IO[str]) -> None:
        self.recipe = recipe
        self._errors = errors
        self._process = subprocess.Popen(
            recipe.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            bufsize=1,
            env={**os.environ, **recipe.environment},
        )
        try:
            self.ready = self._read()
        except BaseException:
            self.close()
            raise

    def step(self, rows: Sequence[TokenRow]) -> Answer:
        """One step over these rows. Raises WorkerEnded."""
        asked = {
            "ids": [row.ids for row in rows],
            "trained": [[int(one) for one in row.trained] for row in rows],
        }
        assert self._process.stdin is not None
        # `_read` reports a process that has ended.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        return Answer(**self._read())

    def close(self) -> None:
        """End the process by closing its input; kill it if it does not end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        code = self._process.wait()
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        self._errors.seek(0)
        last = next((x for x in reversed(self._errors.read().splitlines()) if x.strip()), "")
        raise WorkerEnded(f"`{self.recipe.name}` ended {how}: {last}")


@contextlib.contextmanager
def started(recipe: Recipe) -> Iterator[Worker]:
    """The process of a recipe while the block runs. Raises WorkerEnded if it does not start."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        worker = Worker(recipe, errors)
        try:
            yield worker
        finally:
            worker.close()


def own_recipe(name: str, base: BaseModel, *, threads: int, compiled: bool = True) -> Recipe:
    """The seed recipe or an engine of this project, by its name."""
    command = [sys.executable, str(FOLDER / "own_step.py"), "--model", str(base.folder)]
    command += ["--recipe", name, "--threads", str(threads)]
    command += [] if compiled else ["--no-compiled"]
    return Recipe(name, command, padded=name == "seed")


def trl_recipe(
    variant: str, base: BaseModel, *, python: str, threads: int, environment: Mapping[str, str]
) -> Recipe:
    """TRL in its own environment; with the suffix `+malloc` it keeps freed memory."""
    plain = variant.removesuffix(ALLOCATOR_SUFFIX)
    command = [python, str(FOLDER / "peers" / "trl_step.py"), "--model", str(base.folder)]
    command += ["--variant", plain, "--threads", str(threads)]
    command += ["--bf16"] if trl_has_bf16() else []
    allocator = ALLOCATOR if variant != plain else {}
    return Recipe(f"trl {variant}", command, {**environment, **allocator})


def trl_has_bf16() -> bool:
    """Whether TRL gets BF16 weights here: only if the processor supports them."""
    return any(flag in processor_flags() for flag in BF16_FLAGS)
