"""Runs in INT8 with a calibration: what is cached, reported, and the same after a stop."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from journeyman.errors import IntegrityError, Interrupted, UsageError
from journeyman.events import Event, Note
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.rerun import rerun
from journeyman.train.checkpoint.result import TrainingResult
from journeyman.train.engine import arithmetic, int8_accuracy
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.stage import train
from tests.small_models import small_model
from tests.training_runs import names, short_run, stop_after


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """INT8 as torch multiplies it, on every machine; nothing is in the cache."""
    coarse = Arithmetic("int8", "int8", torch.float32)
    monkeypatch.setattr(arithmetic, "arithmetic_of", lambda *_, **__: coarse)
    monkeypatch.setattr(int8_accuracy, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "calibrations"


def run(base: Path, data: Path, output_dir: Path, **changes: object) -> TrainSettings:
    given = {"precision": "int8", "engine": "fast", "compiled": False, "epochs": 1.0} | changes
    return short_run(base, data, output_dir, **given)


def weights(trained: TrainingResult) -> bytes:
    return (trained.final_model / "adapter_model.safetensors").read_bytes()


def test_a_stopped_run_goes_on_with_its_int8_plan(
    base: Path, data: Path, tmp_path: Path, cache: Path
) -> None:
    events: list[Event] = []
    whole = train(run(base, data, tmp_path / "whole"), events.append)
    text = " ".join(x.text for x in events if isinstance(x, Note))
    assert "smoothed" in text
    assert names(cache)
    with pytest.raises(Interrupted):
        train(run(base, data, tmp_path / "one"), stop_after(1))
    # Calibrated again, it is the same.
    shutil.rmtree(cache)
    assert weights(train(run(base, data, tmp_path / "one"))) == weights(whole)
    plain = train(run(base, data, tmp_path / "plain", calibrate=False))
    assert weights(plain) != weights(whole)


def test_another_int8_plan_must_be_accepted(base: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(run(base, data, tmp_path / "one", calibrate=False), stop_after(1))
    with pytest.raises(UsageError, match="`int8_plan`"):
        train(run(base, data, tmp_path / "one"))
    accepted = train(run(base, data, tmp_path / "one", accept_change=("narrowing",)))
    assert accepted.final_model.is_dir()


def test_full_precision_layers_are_in_the_config(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_accuracy, "LIMIT", 1e-12)
    train(run(base, data, tmp_path / "one"))
    config = json.loads((tmp_path / "one" / "training_config.json").read_text())
    assert "0.down" in config["calibrated_full_precision"]


def test_a_base_with_nan_is_not_calibrated_and_the_run_reports_it(
    data: Path, tmp_path: Path, cache: Path
) -> None:
    broken = small_model(tmp_path / "broken", "llama")
    (path,) = broken.glob("*.safetensors")
    tensors = load_file(path)
    tensors["model.layers.1.mlp.down_proj.weight"][3, 4] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match="not finite"):
        train(run(broken, data, tmp_path / "one"))
    assert not cache.exists()


def test_a_step_is_replayed_with_the_int8_plan_of_its_run(
    base: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="not finite"):
        train(run(base, data, tmp_path / "one", lr=1e30))
    (folder,) = (tmp_path / "one").glob("replay-step-*")
    assert "narrowing.safetensors" in names(folder)
    assert not rerun(folder, lambda _: None).is_finite
