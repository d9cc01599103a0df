"""SmolLM2: two steps on a few rows; killed after the first, it ends as the unbroken run does."""

from pathlib import Path

import pytest

from journeyman.model.adapter import read_adapter, require_fit
from journeyman.model.base import find_base
from journeyman.settings import TrainSettings
from journeyman.train.stage import train
from tests.small_models import small_dataset
from tests.training_runs import paused_after, short_run

pytestmark = pytest.mark.slow


def _settings(folder: Path, name: str) -> TrainSettings:
    data = small_dataset(folder / "data", train=6, val=2)
    return short_run(Path("smollm2-135m"), data, folder / name, lr=2e-3, max_steps=2)


def test_smollm2_learns_and_survives_a_kill(tmp_path: Path) -> None:
    whole = train(_settings(tmp_path, "whole"))
    assert whole.final.val_loss_base is not None
    assert whole.final.val_loss_final is not None
    assert whole.final.val_loss_final < whole.final.val_loss_base
    killed = paused_after(1, _settings(tmp_path, "killed"))
    killed.kill()
    killed.communicate()
    again = train(_settings(tmp_path, "killed"))
    files = [one.final_model / "adapter_model.safetensors" for one in (whole, again)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert again.final.val_loss_final == whole.final.val_loss_final
    require_fit(read_adapter(again.final_model), find_base("smollm2-135m"))
