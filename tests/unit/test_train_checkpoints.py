"""Checkpoints under every kind of damage: never believed, never lost, never deleted too soon."""

import dataclasses
import os
import random
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
import torch

from journeyman.errors import IntegrityError, MachineError
from journeyman.events import Caution, Event
from journeyman.settings import TrainSettings
from journeyman.train.checkpoints import (
    fault_of,
    newest_good,
    numbered,
    read_checkpoint,
    save_checkpoint,
)
from journeyman.train.identity import Identity
from journeyman.train.state import State, Taken

IDENTITY = Identity("base", "a" * 64, "b" * 64, "c" * 64, "d" * 64, "hf", {"lr": 2e-4})
FILES = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "manifest.json",
    "optimizer.safetensors",
    "state.json",
}


def _state(steps: int) -> State:
    taken = tuple(Taken(n, 0, 1.0 / n, 2e-4, 0.5, 10, 11, 0.1) for n in range(1, steps + 1))
    return State(IDENTITY, "torch, 1 thread", taken)


def _save(folder: Path, step: int, keep: int = 2) -> Path:
    settings = TrainSettings(base="base", output_dir=folder, keep_checkpoints=keep)
    parameters = {
        "layer.lora_A.weight": torch.full((2, 4), float(step)),
        "layer.lora_B.weight": torch.full((4, 2), float(step)),
    }
    moments = {f"exp_avg.{name}": tensor.clone() for name, tensor in parameters.items()}
    return save_checkpoint(folder, _state(step), parameters, moments, settings)


def _steps(folder: Path) -> list[int]:
    return [step for step, _ in numbered(folder)]


def test_a_checkpoint_holds_exactly_these_files(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    assert {file.name for file in path.iterdir()} == FILES
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint-1"}


def test_a_saved_state_is_read_back_equal(tmp_path: Path) -> None:
    path = _save(tmp_path, 3)
    assert read_checkpoint(path).state == _state(3)


def test_only_the_newest_stay_and_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-mine").mkdir()
    (tmp_path / "notes.txt").write_text("keep")
    for step in range(1, 12):
        _save(tmp_path, step, keep=3)
    assert _steps(tmp_path) == [11, 10, 9]
    assert (tmp_path / "checkpoint-mine").is_dir()
    assert (tmp_path / "notes.txt").read_text() == "keep"


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_a_damaged_newest_gives_way_to_the_one_before(
    tmp_path: Path, name: str, damage: str
) -> None:
    _save(tmp_path, 1)
    path = _save(tmp_path, 2) / name
    data = path.read_bytes()
    middle = len(data) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:middle])
    else:
        # The manifest's middle is inside a promised hash, every other file is hashed whole.
        middle = data.index(b'.json": "') + 20 if name == "manifest.json" else middle
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    events: list[Event] = []
    found = newest_good(tmp_path, events.append)
    assert found is not None
    assert found.state.step == 1
    assert any(isinstance(event, Caution) and "checkpoint-2" in event.text for event in events)
    assert (tmp_path / "quarantine" / "checkpoint-2").is_dir()


def test_no_random_mutation_is_accepted(tmp_path: Path) -> None:
    good = _save(tmp_path, 1)
    whole = {file.name: file.read_bytes() for file in good.iterdir()}
    chance = random.Random(5)
    for _ in range(400):
        name = chance.choice(sorted(FILES - {"manifest.json"}))
        data = bytearray(whole[name])
        at = chance.randrange(len(data))
        kind = chance.choice(("flip", "cut", "insert", "zero"))
        if kind == "flip":
            data[at] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data.insert(at, chance.randrange(256))
        else:
            data[at:] = bytes(len(data) - at)
        if bytes(data) == whole[name]:
            continue
        (good / name).write_bytes(data)
        assert fault_of(good) is not None, (name, kind, at)
        (good / name).write_bytes(whole[name])
    assert fault_of(good) is None


def test_no_mutation_of_the_manifest_hides_another_state(tmp_path: Path) -> None:
    good = _save(tmp_path, 1)
    whole = (good / "manifest.json").read_bytes()
    chance = random.Random(6)
    for _ in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (good / "manifest.json").write_bytes(data)
        try:
            if fault_of(good) is None:
                assert read_checkpoint(good).state == _state(1)
        except IntegrityError as error:
            assert "newer version" in error.message  # noqa: PT017


def test_all_damaged_is_an_error_until_told_otherwise(tmp_path: Path) -> None:
    for step in (1, 2):
        (_save(tmp_path, step) / "state.json").unlink()
    for _ in range(2):
        with pytest.raises(IntegrityError, match="every checkpoint"):
            newest_good(tmp_path, lambda _: None)
    assert len(list((tmp_path / "quarantine").iterdir())) == 2


def test_a_checkpoint_of_a_newer_version_is_not_moved(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    manifest = msgspec.json.decode((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_bytes(msgspec.json.encode(manifest | {"schema": 99}))
    with pytest.raises(IntegrityError, match="newer version"):
        newest_good(tmp_path, lambda _: None)
    assert path.is_dir()


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest_good(tmp_path, lambda _: None) is None


def test_a_full_disk_is_refused_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 10))
    with pytest.raises(MachineError, match="MiB left"):
        _save(tmp_path, 2)
    assert _steps(tmp_path) == [1]


def _save_for_ever(folder: Path, step: int) -> NoReturn:
    try:
        while True:
            step += 1
            _save(folder, step)
    finally:
        os._exit(1)


def test_killed_at_any_moment_of_a_save_the_newest_is_good(tmp_path: Path) -> None:
    chance = random.Random(7)
    _save(tmp_path, 1)
    last = 1
    for _ in range(25):
        child = os.fork()
        if child == 0:
            _save_for_ever(tmp_path, last)
        time.sleep(chance.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        events: list[Event] = []
        found = newest_good(tmp_path, events.append)
        assert found is not None
        # Nothing under a final name was ever half-written, so nothing went to quarantine.
        assert events == []
        assert found.state == _state(found.state.step)
        assert found.state.step >= last
        last = found.state.step


def test_settings_of_the_run_stand_in_the_manifest(tmp_path: Path) -> None:
    manifest = msgspec.json.decode((_save(tmp_path, 1) / "manifest.json").read_bytes())
    assert set(manifest["settings"]) == {x.name for x in dataclasses.fields(TrainSettings)}
    assert manifest["inputs"]["base"] == "a" * 64
