"""Computes a step again whose loss or gradient was not finite, from its replay folder.

Nothing is updated or written. The base model must be the same, by the hash of its weights.
"""

import math
from pathlib import Path

import torch
from msgspec import Struct

from journeyman.errors import IntegrityError
from journeyman.events import Caution, Note, Progress, ProgressEnded, Reporter, Table
from journeyman.machine.torch_runtime import using_threads
from journeyman.model.adapter_files import read_weights
from journeyman.model.base import find_base, read_config
from journeyman.train.checkpoint.replay import Replay, read_replay
from journeyman.train.engine.adapter_parameters import copy_into
from journeyman.train.engine.factory import open_engine
from journeyman.train.engine.fast.int8_plan import FILE, read_int8_plan
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.recipe import recipe_of
from journeyman.train.state import numerics

TASK = "replay"


class ReplayResult(Struct, frozen=True):
    """The step, computed again.

    losses: of each micro-batch, in nats a trained token. not_finite: the parameters with a gradient
    that is not finite.
    """

    replay: Replay
    losses: tuple[float, ...]
    gradient_norm: float
    not_finite: tuple[str, ...]

    @property
    def is_finite(self) -> bool:
        """Whether everything is finite this time."""
        return all(math.isfinite(x) for x in (*self.losses, self.gradient_norm))

    def table(self) -> Table:
        """One line for each micro-batch."""
        rows = [
            (str(at), f"{loss:.4f}", str(len(part.rows)), ", ".join(row.id for row in part.rows))
            for at, (loss, part) in enumerate(zip(self.losses, self.replay.parts, strict=True), 1)
        ]
        return Table(
            f"step {self.replay.step}", ("micro-batch", "loss", "rows", "ids"), tuple(rows)
        )

    def verdict(self) -> str:
        """The result in a sentence."""
        if self.is_finite:
            return f"every loss and the gradient are finite now (norm {self.gradient_norm:.4g})"
        named = ", ".join(f"`{name}`" for name in self.not_finite[:3])
        more = len(self.not_finite) - 3
        return f"not finite again; gradients that are not finite: {named or 'none'}" + (
            f" and {more} more" if more > 0 else ""
        )


def rerun(folder: Path, report: Reporter) -> ReplayResult:
    """Compute the micro-batches of the step again. Raises UsageError, IntegrityError."""
    replay = read_replay(folder)
    base = find_base(replay.settings.base, report)
    if base.sha256 != replay.base_sha256:
        raise IntegrityError(
            f"the step was computed with the base `{replay.base_name}@{replay.base_sha256[:7]}`, "
            f"but the base here is `{base.name}@{base.sha256[:7]}` (sha256 of the weights)",
            hint="restore the base model that the run was trained on",
        )
    report(Note(f"step {replay.step}: {replay.what} was not finite"))
    with using_threads(replay.settings.threads):
        now = numerics(device=replay.settings.device)
        if now != replay.arithmetic:
            report(Caution(f"the run computed with {replay.arithmetic}, this replay with {now}"))
        path = folder / FILE
        int8_plan = read_int8_plan(path)[0] if path.is_file() else None
        config = read_config(base.folder)
        recipe = recipe_of(replay.settings, config, report, int8_plan=int8_plan)
        engine = open_engine(base, recipe, report)
        copy_into(engine.parameters(), read_weights(folder))
        return _compute(replay, engine, report)


def _compute(replay: Replay, engine: TrainingEngine, report: Reporter) -> ReplayResult:
    losses = []
    for at, part in enumerate(replay.parts, 1):
        losses.append(engine.backward(part.rows, weight=replay.weight, seed=part.seed).loss)
        report(Progress(TASK, at, len(replay.parts), "micro-batches"))
    report(ProgressEnded(TASK))
    gradients = {
        name: parameter.grad
        for name, parameter in engine.parameters().items()
        if parameter.grad is not None
    }
    norm = torch.nn.utils.get_total_norm(gradients.values())
    not_finite = [name for name, tensor in gradients.items() if not bool(tensor.isfinite().all())]
    return ReplayResult(replay, tuple(losses), float(norm), tuple(not_finite))
