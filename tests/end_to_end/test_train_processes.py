"""Data parallel runs: the losses of one process, stops and kills, and other process counts."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from journeyman.cli import run
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.result import TrainingResult
from journeyman.train.parallel.affinity import assign_cpus
from journeyman.train.parallel.launch import launch
from journeyman.train.stage import train
from journeyman.train.state import State
from tests.training_runs import drawn_steps, names, short_run
from tests.waiting import HANG_S

# 10 rows by 4 are 3 steps an epoch, of 4, 4 and 2 micro-batches of one row.
STEPS = 6
# Each row is a micro-batch: none has fewer than 50 tokens.
SHAPE = {"epochs": 2.0, "batch_size": 1, "accumulation": 4, "micro_batch_tokens": 60}
TOLERANCE = 1e-5
"""Relative, of a loss. Float32 sums in another order differ by some 1e-7 of their terms, and Adam's
first steps divide by the size of the gradient."""


def settings(base: Path, data: Path, output_dir: Path, **changes: object) -> TrainSettings:
    return short_run(base, data, output_dir, **SHAPE | changes)


def command(one: TrainSettings, *, processes: int = 2) -> list[str]:
    """The command line of a run, after `journeyman train`."""
    flags = ["--base", one.base, "--data-dir", str(one.data_dir), "--lr", str(one.lr)]
    flags += ["--output-dir", str(one.output_dir), "--epochs", str(one.epochs), "--threads", "1"]
    flags += ["--batch-size", str(one.batch_size), "--accumulation", str(one.accumulation)]
    flags += ["--micro-batch-tokens", str(one.micro_batch_tokens)]
    return [*flags, "--processes", str(processes)] if processes > 1 else flags


def started(one: TrainSettings, *program: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *(program or ("-m", "journeyman")), "train", *command(one)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def state_of(output_dir: Path) -> State:
    path = output_dir / f"checkpoint-{STEPS}" / "state.json"
    return msgspec.json.decode(path.read_bytes(), type=State)


def adapter_of(output_dir: Path) -> bytes:
    return (output_dir / "final_model" / "adapter_model.safetensors").read_bytes()


def losses_of(output_dir: Path) -> list[float]:
    state = state_of(output_dir)
    return [one.loss for one in state.taken] + [one.loss for one in state.validations]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status_of(output_dir: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((output_dir / "status.json").read_text())
    return found


@pytest.fixture(scope="module")
def alone(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    trained: TrainingResult = train(settings(base, data, folder))
    assert trained.final.steps == STEPS
    return folder


@pytest.fixture(scope="module")
def together(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run with two processes, not interrupted."""
    folder = tmp_path_factory.mktemp("together")
    process = started(settings(base, data, folder))
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, output
    assert "2 processes were requested, on processors" in output
    assert output.count("validation loss after step 6") == 1
    assert output.splitlines()[-1] == str(folder / "final_model")
    return folder


def test_two_processes_have_the_losses_of_one(alone: Path, together: Path) -> None:
    assert losses_of(together) == pytest.approx(losses_of(alone), rel=TOLERANCE)
    one, other = state_of(alone), state_of(together)
    counts = [(x.step, x.epoch, x.lr, x.real_tokens, x.computed_tokens) for x in one.taken]
    assert counts == [
        (x.step, x.epoch, x.lr, x.real_tokens, x.computed_tokens) for x in other.taken
    ]


def test_two_processes_have_the_same_int8_plan(
    base: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = []
    for processes in (1, 2):
        one = settings(base, data, tmp_path / str(processes))
        flags = [*command(one, processes=processes), "--precision", "int8"]
        code = run(["train", *flags])
        output = capfd.readouterr()
        assert code == 0, output.err
        assert output.err.count("the base's answers diverge") == 1
        found.append(losses_of(one.output_dir))
    # A value between two steps of 8 bits may be rounded up or down.
    assert found[1] == pytest.approx(found[0], rel=2e-3)


def test_only_rank_0_writes(alone: Path, together: Path) -> None:
    assert names(together) == names(alone)
    assert drawn_steps(together, "train/loss") == list(range(1, STEPS + 1))
    assert len(list((together / "logs").glob("events.*"))) == 1
    assert status_of(together)["process_count"] == 2


def test_torchrun_on_two_machines_gives_the_same_bits(
    together: Path, base: Path, data: Path, tmp_path: Path
) -> None:
    one = settings(base, data, tmp_path)
    with_port = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    torchrun += ["--rdzv-id", "x", "--nproc-per-node", "1", *with_port, "-m", "journeyman", "train"]
    machines = [subprocess.Popen([*torchrun, *command(one, processes=1)]) for _ in range(2)]
    assert [machine.wait(timeout=HANG_S) for machine in machines] == [0, 0]
    assert losses_of(tmp_path) == losses_of(together)
    assert adapter_of(tmp_path) == adapter_of(together)


STOPPED = """
import signal, sys
import msgspec
from journeyman.errors import Interrupted
from journeyman.settings import TrainSettings
from journeyman.train.stage import train

def report(event):
    if str(getattr(event, "detail", "")).startswith("step 2/"):
        signal.raise_signal(signal.SIGTERM)

settings = msgspec.json.decode(
    sys.argv[1], type=TrainSettings, dec_hook=lambda kind, value: kind(value)
)
try:
    train(settings, report)
except Interrupted as error:
    sys.exit(error.exit_code)
"""


def test_a_stop_of_one_process_stops_both_and_the_rest_gives_the_same_bits(
    together: Path, base: Path, data: Path, tmp_path: Path
) -> None:
    one = settings(base, data, tmp_path)
    text = msgspec.json.encode(one, enc_hook=str).decode()
    # Only rank 0 reports events, so only that process gets the signal, after its first round.
    assert launch([sys.executable, "-c", STOPPED, text], assign_cpus(2)) == 75
    assert "checkpoint-1-micro-2" in names(tmp_path)
    again = started(one)
    output, _ = again.communicate(timeout=HANG_S)
    assert again.returncode == 0, output
    assert losses_of(tmp_path) == losses_of(together)
    assert adapter_of(tmp_path) == adapter_of(together)


# `journeyman train --processes 2`, of which process 1 is killed when it is about to sum the
# gradients of step 3: from outside it might have ended before its number is known.
KILLED = """
import os, signal
from journeyman.cli import train
from journeyman.train.parallel.group import GlooProcessGroup
summed, calls = GlooProcessGroup.sum_, []

def sum_(self, tensors):
    calls.append(1)
    if self.rank == 1 and len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    summed(self, tensors)

GlooProcessGroup.sum_ = sum_
train.main()
"""
STARTED = f"""
import sys
from journeyman.cli import main, train
command = train._command
train._command = lambda settings: [sys.executable, "-c", {KILLED!r}, command(settings)[-1]]
main()
"""


def test_a_killed_process_ends_the_other_and_one_process_goes_on(
    alone: Path, base: Path, data: Path, tmp_path: Path
) -> None:
    one = settings(base, data, tmp_path)
    process = started(one, "-c", STARTED)
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 75, output
    assert "process 1 of 2 was killed by SIGKILL" in output
    assert "another process of this run has ended" in output
    assert status_of(tmp_path)["step"] == 2
    train(one)
    assert losses_of(tmp_path) == pytest.approx(losses_of(alone), rel=TOLERANCE)
