"""Faults of a long run: stopped inside of a step, a full disk, changes, out of memory."""

import resource
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from journeyman.errors import IntegrityError, Interrupted, MachineError, UsageError
from journeyman.events import Caution, Event, Note, Progress, Reporter
from journeyman.runs import read_manifest
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.result import TrainingResult
from journeyman.train.engine.fast.engine import FastEngine
from journeyman.train.engine.hf import HfEngine
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.monitor.status import new_status, read_status, write_status
from journeyman.train.stage import train
from tests.killed_runs import counted_kills
from tests.training_runs import names, short_run

STEPS = 6
COMPARED = ("adapter_model.safetensors", "optimizer.safetensors")


@pytest.fixture(scope="module")
def whole(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A run that is not interrupted; 10 rows by 4 are 3 steps an epoch."""
    return train(_settings(base, data, tmp_path_factory.mktemp("whole")))


def _settings(base: Path, data: Path, output_dir: Path, **changes: object) -> TrainSettings:
    # Each row is a micro-batch: none has fewer than 50 tokens.
    one_by_one = {"batch_size": 1, "accumulation": 4, "micro_batch_tokens": 60}
    return short_run(base, data, output_dir, **{"epochs": 2.0} | one_by_one | changes)


def _assert_equal(one: TrainingResult, other: TrainingResult) -> None:
    for name in COMPARED:
        files = [x.final_model.parent / f"checkpoint-{STEPS}" / name for x in (one, other)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert one.final.val_loss_final == other.final.val_loss_final


def _every(count: int) -> Reporter:
    """Request a stop after every so many micro-batches."""
    seen = 0

    def report(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Progress) and event.task == "train"
        if isinstance(event, Progress) and event.task == "train" and seen % count == 0:
            signal.raise_signal(signal.SIGTERM)

    return report


def test_stopped_again_and_again_inside_of_steps_the_result_is_the_same(
    whole: TrainingResult, base: Path, data: Path, tmp_path: Path
) -> None:
    """Fault 7: a stop every 3 micro-batches of 1 row; steps have 4, 4 and 2 of them."""
    settings = _settings(base, data, tmp_path)
    messages: list[str] = []
    for _ in range(6):
        with pytest.raises(Interrupted, match="is saved") as caught:
            train(settings, _every(3))
        messages.append(caught.value.message)
    assert "checkpoint-0-micro-3 is saved" in messages[0]
    assert "checkpoint-1-micro-2 is saved" in messages[1]
    result = train(settings)
    _assert_equal(whole, result)
    assert not [name for name in names(tmp_path) if "micro" in name]


class _Disk:
    """A disk that is full from one step on, until another: no file may be larger than 20,000 B."""

    def __init__(self, full_at: int, free_at: int) -> None:
        self.events: list[Event] = []
        self._full_at, self._free_at = full_at, free_at

    def report(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Progress) and event.detail.startswith(f"step {self._full_at}/"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        if isinstance(event, Progress) and event.detail.startswith(f"step {self._free_at}/"):
            self.free()

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_a_save_that_fails_is_reported_and_tried_again_and_the_run_goes_on(
    whole: TrainingResult, base: Path, data: Path, tmp_path: Path
) -> None:
    """Faults 10 and 11: the disk is full at steps 2 and 3."""
    disk = _Disk(2, 4)
    try:
        result = train(_settings(base, data, tmp_path), disk.report)
    finally:
        disk.free()
    cautions = [event.text for event in disk.events if isinstance(event, Caution)]
    failed = [text for text in cautions if "cannot save" in text]
    assert len(failed) == 2
    assert all("checkpoint-1 is saved" in text for text in failed)
    _assert_equal(whole, result)
    assert not [name for name in names(tmp_path) if name.startswith(".tmp-")]


def test_a_result_that_cannot_be_written_ends_with_4_and_loses_nothing(
    whole: TrainingResult, base: Path, data: Path, tmp_path: Path
) -> None:
    settings = _settings(base, data, tmp_path)
    disk = _Disk(4, 99)
    try:
        with pytest.raises(MachineError, match="final_model"):
            train(settings, disk.report)
    finally:
        disk.free()
    status = read_status(tmp_path)
    assert status is not None
    assert status.state == "failed"
    _assert_equal(whole, train(settings))


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_loaded(
    base: Path, data: Path
) -> None:
    """Fault 13."""
    events: list[Event] = []
    with pytest.raises(MachineError):
        train(_settings(base, data, Path("/proc/self/out")), events.append)
    assert events == []


def _stopped(settings: TrainSettings, count: int) -> None:
    with pytest.raises(Interrupted):
        train(settings, _every(count))


def test_an_accepted_change_goes_on_and_is_kept_in_the_lineage(
    base: Path, data: Path, tmp_path: Path
) -> None:
    """Fault 22."""
    _stopped(_settings(base, data, tmp_path), 5)
    changed = _settings(base, data, tmp_path, lr=1e-3)
    with pytest.raises(UsageError, match="`lr`") as caught:
        train(changed)
    assert "--accept-change lr" in caught.value.hint
    result = train(_settings(base, data, tmp_path, lr=1e-3, accept_change=("lr",)))
    manifest = read_manifest(result.final_model)
    assert manifest is not None
    assert manifest.facts["exact"] is False
    assert manifest.facts["lineage"] == [
        {"step": 1, "field": "lr", "before": "0.01", "after": "0.001"}
    ]


@pytest.mark.parametrize("field", ["lora_r", "learning_rate"])
def test_a_change_that_cannot_be_accepted_is_refused_by_name(
    base: Path, data: Path, tmp_path: Path, field: str
) -> None:
    with pytest.raises(UsageError, match=f"--accept-change {field}"):
        train(_settings(base, data, tmp_path, accept_change=(field,)))


def test_another_tokenizer_under_the_same_name_is_damage(
    base: Path, data: Path, tmp_path: Path
) -> None:
    """Fault 24, for a run that goes on."""
    _stopped(_settings(base, data, tmp_path), 1)
    path = base / "tokenizer.json"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        with pytest.raises(IntegrityError, match="tokenizer_sha256"):
            train(_settings(base, data, tmp_path))
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(("engine", "kind"), [("hf", HfEngine), ("fast", FastEngine)])
def test_with_fit_a_run_goes_on_smaller_and_reports_since_when(
    engine: str, kind: Any, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 16: after the first step, torch runs out of memory on micro-batches of two rows."""
    backward, calls = kind.backward, 0

    def hungry(itself: TrainingEngine, rows: list[object], **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 2 and len(rows) > 1:
            torch.empty(1 << 50, dtype=torch.uint8)
        return backward(itself, rows, **named)

    monkeypatch.setattr(kind, "backward", hungry)
    pairs = {"batch_size": 2, "accumulation": 2, "micro_batch_tokens": 130, "engine": engine}
    settings = _settings(base, data, tmp_path, fit=True, **pairs)
    events: list[Event] = []
    result = train(settings, events.append)
    assert any(isinstance(x, Caution) and "from step 2 on" in x.text for x in events)
    manifest = read_manifest(result.final_model)
    assert manifest is not None
    assert manifest.facts["lineage"] == [
        {"step": 1, "field": "fit", "before": "as asked", "after": "micro-batches in 2 parts"}
    ]
    assert result.final.steps == STEPS


def test_after_an_oom_kill_the_next_start_reports_it_and_with_fit_is_smaller(
    base: Path, data: Path, tmp_path: Path
) -> None:
    """Fault 16: the status of a killed process that used more memory than the machine has."""
    (tmp_path / "out").mkdir()
    status = new_status("training")
    rss = 1 << 50
    write_status(tmp_path / "out", msgspec.structs.replace(status, step=0, rss_bytes=rss))
    events: list[Event] = []
    pairs = {"batch_size": 2, "micro_batch_tokens": 130, "max_steps": 1}
    settings = _settings(base, data, tmp_path / "out", fit=True, **pairs)
    train(settings, events.append)
    cautions = [event.text for event in events if isinstance(event, Caution)]
    assert any("because memory ran out" in text for text in cautions)
    assert any("micro-batches in 2 parts" in text for text in cautions)


def test_the_status_of_a_finished_run_is_whole(whole: TrainingResult) -> None:
    status = read_status(whole.final_model.parent)
    assert status is not None
    assert (status.state, status.step, status.steps) == ("finished", STEPS, STEPS)
    assert status.tokens_done == status.tokens_total
    assert status.validation_loss == whole.final.val_loss_final


def test_a_run_reports_what_its_checkpoints_cost(base: Path, data: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    train(_settings(base, data, tmp_path, max_steps=2), events.append)
    assert any(isinstance(x, Note) and "checkpoints took" in x.text for x in events)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments_a_run_has_the_same_result(tmp_path: Path, processes: int) -> None:
    """Fault 2; `benchmarks/faults.py` does 200."""
    counts = counted_kills(tmp_path, count=4, seed=1, processes=processes)
    assert counts == {"kills": 4, "runs": counts["runs"]} | dict.fromkeys(
        ("unequal", "quarantined", "left_over"), 0
    )
