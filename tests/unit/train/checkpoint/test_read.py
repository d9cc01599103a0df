"""Checkpoints with every kind of damage: never used, never lost, never deleted too soon."""

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

from journeyman.errors import IntegrityError, MachineError
from journeyman.events import Caution, Event
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.read import fault_of, newest_good, read_checkpoint, seal_of
from journeyman.train.checkpoint.save import save_checkpoint
from journeyman.train.state import Validation
from tests.checkpoint_files import FILES, a_state, mutations, places, saved, tensors_of


def test_a_checkpoint_has_exactly_these_files(tmp_path: Path) -> None:
    path = saved(tmp_path, 1)
    assert {file.name for file in path.iterdir()} == set(FILES) - {"gradients.safetensors"}
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint-1"}


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_a_saved_state_is_read_back_equal(tmp_path: Path, micro_batch: int) -> None:
    path = saved(tmp_path, 3, micro_batch)
    assert read_checkpoint(path).state == a_state(3, micro_batch)


def test_a_checkpoint_inside_of_a_step_is_deleted_with_the_next_save(
    tmp_path: Path,
) -> None:
    for place in ((9, 0), (10, 0), (10, 2), (10, 11)):
        saved(tmp_path, *place)
    assert places(tmp_path) == [(10, 11), (10, 0), (9, 0)]
    saved(tmp_path, 11)
    assert places(tmp_path) == [(11, 0), (10, 0)]


def test_the_step_with_the_best_validation_stays(tmp_path: Path) -> None:
    settings = TrainSettings(base="base", output_dir=tmp_path)
    for step in range(1, 6):
        losses = [Validation(n, 2.0 if n != 2 else 1.0) for n in range(step)]
        state = msgspec.structs.replace(a_state(step), validations=tuple(losses))
        save_checkpoint(state, tensors_of(step), settings)
    assert places(tmp_path) == [(5, 0), (4, 0), (2, 0)]


def test_only_the_newest_stay_and_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-mine").mkdir()
    (tmp_path / "notes.txt").write_text("keep")
    for step in range(1, 12):
        saved(tmp_path, step, keep=3)
    assert places(tmp_path) == [(11, 0), (10, 0), (9, 0)]
    assert (tmp_path / "checkpoint-mine").is_dir()
    assert (tmp_path / "notes.txt").read_text() == "keep"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_if_the_newest_is_damaged_the_one_before_is_used(
    tmp_path: Path, name: str, damage: str
) -> None:
    saved(tmp_path, 1)
    path = saved(tmp_path, 2, 1) / name
    data = path.read_bytes()
    middle = len(data) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:middle])
    else:
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    events: list[Event] = []
    found = newest_good(tmp_path, events.append)
    assert found is not None
    assert found.state.step == 1
    assert any(
        isinstance(event, Caution) and "checkpoint-2-micro-1" in event.text for event in events
    )
    assert (tmp_path / "quarantine" / "checkpoint-2-micro-1").is_dir()


def test_of_a_thousand_mutations_none_is_accepted(tmp_path: Path) -> None:
    """Faults 17, 18 and 19, in every file and in every way."""
    saved(tmp_path, 1)
    good, other = saved(tmp_path, 2, 3), saved(tmp_path / "other", 7, 1)
    accepted = [
        what for what in mutations(good, other, count=1000, seed=5) if fault_of(good) is None
    ]
    assert accepted == []
    assert fault_of(good) is None


def test_if_all_are_damaged_that_stays_an_error(tmp_path: Path) -> None:
    for step in (1, 2):
        (saved(tmp_path, step) / "state.json").unlink()
    for _ in range(2):
        with pytest.raises(IntegrityError, match="every checkpoint"):
            newest_good(tmp_path, lambda _: None)
    assert len(list((tmp_path / "quarantine").iterdir())) == 2


def test_a_checkpoint_of_a_newer_version_is_not_moved(tmp_path: Path) -> None:
    path = saved(tmp_path, 1)
    manifest = msgspec.json.decode((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_bytes(msgspec.json.encode(manifest | {"schema": 99}))
    (path / "manifest.sha256").write_bytes(seal_of(path))
    with pytest.raises(IntegrityError, match="newer version"):
        newest_good(tmp_path, lambda _: None)
    assert path.is_dir()


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest_good(tmp_path, lambda _: None) is None


def test_a_full_disk_is_refused_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 10))
    with pytest.raises(MachineError, match="MiB left"):
        saved(tmp_path, 2)
    assert places(tmp_path) == [(1, 0)]


def _save_forever(folder: Path, step: int) -> NoReturn:
    try:
        while True:
            step += 1
            saved(folder, step)
    finally:
        os._exit(1)


def test_killed_at_any_moment_of_a_save_the_newest_is_good(folder_in_memory: Path) -> None:
    chance = random.Random(7)
    saved(folder_in_memory, 1)
    last = 1
    for _ in range(25):
        child = os.fork()
        if child == 0:
            _save_forever(folder_in_memory, last)
        time.sleep(chance.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        events: list[Event] = []
        found = newest_good(folder_in_memory, events.append)
        assert found is not None
        # Nothing under a final name is ever half written, so nothing was quarantined.
        assert events == []
        assert found.state == a_state(found.state.step)
        assert found.state.step >= last
        last = found.state.step


def test_the_manifest_has_the_settings_of_the_run(tmp_path: Path) -> None:
    manifest = msgspec.json.decode((saved(tmp_path, 1) / "manifest.json").read_bytes())
    assert set(manifest["settings"]) == {x.name for x in dataclasses.fields(TrainSettings)}
    assert manifest["inputs"]["base"] == "a" * 64
