"""Checkpoints of a few numbers, and every way in which one can be damaged."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.read import checkpoints_in
from journeyman.train.checkpoint.save import Tensors, save_checkpoint
from journeyman.train.engine.interface import Tally
from journeyman.train.identity import Identity
from journeyman.train.state import FinishedStep, InStep, State

IDENTITY = Identity("base", "a" * 64, "b" * 64, "e" * 64, "c" * 64, "d" * 64, "hf", {"lr": 2e-4})
FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "gradients.safetensors",
    "manifest.json",
    "manifest.sha256",
    "optimizer.safetensors",
    "state.json",
)
KINDS = ("flip", "cut", "insert", "zero", "delete", "swap", "empty")


def a_state(steps: int, micro_batch: int = 0) -> State:
    """After so many steps, and micro-batches of the next."""
    taken = tuple(FinishedStep(n, 0, 1.0 / n, 2e-4, 0.5, 10, 11, 0.1) for n in range(1, steps + 1))
    in_step = InStep(micro_batch, Tally(1.5, 3, 4, 5), 0.25) if micro_batch else None
    return State(IDENTITY, "torch, 1 thread", taken, in_step=in_step)


def tensors_of(step: int, micro_batch: int = 0) -> Tensors:
    """A few numbers that differ from step to step."""
    parameters = {
        "layer.lora_A.weight": torch.full((2, 4), float(step)),
        "layer.lora_B.weight": torch.full((4, 2), float(step)),
    }
    moments = {f"exp_avg.{name}": tensor.clone() for name, tensor in parameters.items()}
    gradients = {name: tensor + micro_batch for name, tensor in parameters.items()}
    return Tensors(
        parameters=parameters, moments=moments, gradients=gradients if micro_batch else {}
    )


def saved(folder: Path, step: int, micro_batch: int = 0, *, keep: int = 2) -> Path:
    """Save such a checkpoint as a run does."""
    folder.mkdir(exist_ok=True)
    settings = TrainSettings(base="base", output_dir=folder, keep_checkpoints=keep)
    return save_checkpoint(a_state(step, micro_batch), tensors_of(step, micro_batch), settings)


def places(folder: Path) -> list[tuple[int, int]]:
    """Steps and micro-batches of the checkpoints in a folder, newest first."""
    return [place for place, _ in checkpoints_in(folder)]


def mutations(good: Path, other: Path, *, count: int, seed: int) -> Iterator[str]:
    """Damage a checkpoint, say how, and mend it, so many times. other: one of another step."""
    whole = {file.name: file.read_bytes() for file in good.iterdir()}
    chance = random.Random(seed)
    while count:
        name, kind = chance.choice(sorted(whole)), chance.choice(KINDS)
        data = _mutated(whole[name], kind, other / name, chance)
        if data == whole[name]:
            continue
        count -= 1
        if data is None:
            (good / name).unlink()
        else:
            (good / name).write_bytes(data)
        yield f"{kind} {name}"
        (good / name).write_bytes(whole[name])


def _mutated(data: bytes, kind: str, other: Path, chance: random.Random) -> bytes | None:
    at = chance.randrange(len(data))
    match kind:
        case "flip":
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "insert":
            return data[:at] + bytes([chance.randrange(256)]) + data[at:]
        case "zero":
            return data[:at] + bytes(len(data) - at)
        case "swap":
            return other.read_bytes()
        case "empty":
            return b""
        case _:
            return None


def copied(folder: Path, target: Path) -> Path:
    """A copy of a folder, made anew."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target))
