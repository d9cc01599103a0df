"""Short training runs: settings that tests change by name, here or in a process of its own."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from journeyman.events import Event, Progress, Reporter
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.read import checkpoints_in


def short_run(base: Path, data: Path, output_dir: Path, **changes: object) -> TrainSettings:
    """3 epochs, 4 rows a step in some micro-batches, one thread: so equal means bit for bit."""
    settings = TrainSettings(
        base=str(base),
        data_dir=data,
        output_dir=output_dir,
        epochs=3,
        batch_size=2,
        accumulation=2,
        lr=1e-2,
        micro_batch_tokens=110,
        threads=1,
    )
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def started(settings: TrainSettings) -> "subprocess.Popen[str]":
    """A training run in a process of its own; it says its error and ends with its exit code."""
    code = (
        "import sys, msgspec\n"
        "from journeyman.errors import JourneymanError\n"
        "from journeyman.settings import TrainSettings\n"
        "from journeyman.train.stage import train\n"
        "settings = msgspec.json.decode(sys.argv[1], type=TrainSettings,\n"
        "    dec_hook=lambda kind, value: kind(value))\n"
        "try:\n"
        "    train(settings)\n"
        "except JourneymanError as error:\n"
        "    print(error.message)\n"
        "    sys.exit(error.exit_code)\n"
    )
    text = msgspec.json.encode(settings, enc_hook=str).decode()
    return subprocess.Popen([sys.executable, "-c", code, text], stdout=subprocess.PIPE, text=True)


def stop_after(step: int) -> Reporter:
    """A reporter that asks for a stop, as the user would, in the first micro-batch after a step."""

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.detail.startswith(f"step {step + 1}/"):
            signal.raise_signal(signal.SIGTERM)

    return report


def wait_for_step(process: "subprocess.Popen[str]", output_dir: Path, step: int) -> None:
    """Wait until a checkpoint of that step or a later one is there, or the process has ended."""
    while process.poll() is None and not any(n >= step for (n, _), _ in checkpoints_in(output_dir)):
        time.sleep(0.01)


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
