"""Short training runs: settings that tests change by name, here or in a process of its own."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from journeyman.events import Event, Progress, Reporter
from journeyman.settings import TrainSettings


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


_PAUSED = """
import sys, msgspec
from journeyman.errors import JourneymanError
from journeyman.settings import TrainSettings
from journeyman.train.stage import train

settings = msgspec.json.decode(
    sys.argv[1], type=TrainSettings, dec_hook=lambda kind, value: kind(value)
)
left = [sys.argv[2]]

def report(event):
    if left and str(getattr(event, "detail", "")).startswith(left[0]):
        left.clear()
        print("paused", flush=True)
        sys.stdin.readline()

try:
    train(settings, report)
except JourneymanError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


def paused_after(step: int, settings: TrainSettings) -> "subprocess.Popen[str]":
    """A training run in a process of its own that pauses inside of the step after this one.

    A line on its stdin lets it go on. It prints its error and ends with its exit code.
    """
    text = msgspec.json.encode(settings, enc_hook=str).decode()
    process = subprocess.Popen(
        [sys.executable, "-c", _PAUSED, text, f"step {step + 1}/"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "paused\n"
    return process


def stop_after(step: int) -> Reporter:
    """A reporter that asks for a stop, as the user would, in the first micro-batch after a step."""

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.detail.startswith(f"step {step + 1}/"):
            signal.raise_signal(signal.SIGTERM)

    return report


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
