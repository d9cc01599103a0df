"""An adapter is evaluated in torch beside its base, on a real model of two layers."""

from pathlib import Path

import pytest

from journeyman.errors import IntegrityError
from journeyman.evaluate.stage import evaluate
from journeyman.settings import EvaluateSettings
from tests.scripted_engine import row, write_dataset
from tests.small_models import small_adapter, small_model


def settings_in(folder: Path, base: Path) -> EvaluateSettings:
    return EvaluateSettings(
        model=small_adapter(folder / "final_model", base),
        base=str(base),
        test_data=write_dataset(folder / "data", [row("Write `f`."), row("Write `g`.")]),
        output=folder / "evaluation.json",
        max_tokens=8,
    )


def test_an_adapter_is_measured_and_never_deployed(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    result = evaluate(settings_in(tmp_path, base))
    assert [(arm.arm.id, arm.arm.engine) for arm in result.arms] == [
        ("base", "torch"),
        ("tuned", "torch"),
    ]
    assert [arm.recorded for arm in result.arms] == [2, 2]
    assert result.verdict.label != "DEPLOY"
    assert any("torch" in reason for reason in result.verdict.reasons)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, small_model(tmp_path / "base"))
    other = small_model(tmp_path / "other", seed=1)
    with pytest.raises(IntegrityError, match="was trained on"):
        evaluate(EvaluateSettings(**{**settings.__dict__, "base": str(other)}))
