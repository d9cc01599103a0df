"""A short training run on a small model, with settings that tests change by name."""

import dataclasses
from pathlib import Path

from journeyman.settings import TrainSettings


def short_run(base: Path, data: Path, output_dir: Path, **changes: object) -> TrainSettings:
    """3 epochs, 4 rows a step, one thread: one thread, so that equal means equal bit for bit."""
    settings = TrainSettings(
        base=str(base),
        data_dir=data,
        output_dir=output_dir,
        epochs=3,
        batch_size=2,
        accumulation=2,
        lr=1e-2,
        threads=1,
    )
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def drawn_steps(output_dir: Path, curve: str) -> list[int]:
    """The steps that TensorBoard shows for one curve of a run."""
    from tensorboard.backend.event_processing import (  # type: ignore[import-untyped]
        event_accumulator,
    )

    curves = event_accumulator.EventAccumulator(str(output_dir / "logs"))
    curves.Reload()
    return [one.step for one in curves.Scalars(curve)]


def names(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}
