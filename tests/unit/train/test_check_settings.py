"""lora_config.json, the recommended preset, and what is refused before anything is loaded."""

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from journeyman.errors import UsageError
from journeyman.events import Event, Note
from journeyman.settings import TrainSettings
from journeyman.train.check_settings import require_usable
from journeyman.train.engine.recipe import decide
from journeyman.train.presets import RECOMMENDED, load_lora_config

LORA_CONFIG = Path(__file__).parents[3] / "training" / "configs" / "lora_config.json"
FAMILY = AutoConfig.for_model("llama")


def test_the_shipped_file_has_the_given_defaults() -> None:
    values = load_lora_config(LORA_CONFIG)
    assert TrainSettings(**values) == TrainSettings()  # type: ignore[arg-type]


def test_a_batch_size_flag_keeps_16_rows_with_the_shipped_file() -> None:
    values = load_lora_config(LORA_CONFIG) | {"batch_size": 1}
    settings = TrainSettings(**values)  # type: ignore[arg-type]
    assert decide(settings, FAMILY).settings.accumulation == 16


def test_an_accumulation_that_does_not_give_16_rows_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lora.json"
    path.write_text('{"training": {"gradient_accumulation_steps": 3}}')
    assert load_lora_config(path) == {"accumulation": 3}


def test_every_field_of_the_file_is_a_setting(tmp_path: Path) -> None:
    path = tmp_path / "lora.json"
    training = {"max_steps": 3, "save_steps": 2, "save_total_limit": 4, "eval_steps": 5}
    path.write_text(json.dumps({"training": {**training, "warmup_ratio": 0.0, "max_grad_norm": 2}}))
    settings = TrainSettings(**load_lora_config(path))  # type: ignore[arg-type]
    assert (settings.max_steps, settings.save_steps, settings.keep_checkpoints) == (3, 2, 4)
    assert (settings.eval_steps, settings.warmup_share, settings.max_grad_norm) == (5, 0.0, 2.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"lora": {"rank": 8}}', "`rank`"),
        ('{"lora": {"r": "eight"}}', "$.lora.r"),
        ('{"trainer": {}}', "`trainer`"),
        ("{", "lora.json"),
        ("\xff", "lora.json"),
    ],
)
def test_an_invalid_file_is_refused_with_the_json_path(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "lora.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        load_lora_config(path)
    assert named in caught.value.message


def test_the_preset_names_only_settings() -> None:
    assert set(RECOMMENDED) <= {field.name for field in dataclasses.fields(TrainSettings)}
    assert TrainSettings(**RECOMMENDED).lora_dropout == 0  # type: ignore[arg-type]


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    settings = TrainSettings(data_dir=tmp_path, batch_size=0, lr=-1, warmup_share=1.5, max_steps=0)
    with pytest.raises(UsageError) as caught:
        require_usable(settings)
    for name in ("--batch-size", "--lr", "--warmup-share", "--max-steps", "train.jsonl"):
        assert name in caught.value.message


def test_nan_is_not_a_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--lr"):
        require_usable(TrainSettings(data_dir=tmp_path, lr=float("nan")))


def test_fresh_and_resume_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give only one of them"):
        require_usable(TrainSettings(data_dir=tmp_path, fresh=True, resume=tmp_path))


def test_a_batch_size_that_does_not_divide_16_is_reported() -> None:
    events: list[Event] = []
    settings = decide(TrainSettings(batch_size=3, precision="fp32"), FAMILY, events.append).settings
    assert settings.accumulation == 5
    assert any(isinstance(event, Note) and "15 rows a step" in event.text for event in events)


def test_an_explicit_accumulation_wins() -> None:
    settings = TrainSettings(batch_size=1, accumulation=2, precision="fp32")
    assert decide(settings, FAMILY).settings.accumulation == 2
