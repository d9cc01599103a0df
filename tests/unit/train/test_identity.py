"""Which runs are the same run."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from journeyman.errors import IntegrityError, UsageError
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.identity import (
    Identity,
    differences,
    identity_of,
    require_acceptable,
    require_same,
)

BASE = BaseModel("org/base", Path("base"), "a" * 64, "b" * 64, "folder")


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    for name in ("train", "val"):
        (tmp_path / f"{name}.jsonl").write_text(name)
    return TrainSettings(data_dir=tmp_path, accumulation=8, precision="fp32")


def _identity(settings: TrainSettings, base: BaseModel = BASE) -> Identity:
    return identity_of(settings, base)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", 1e-4),
        ("seed", 7),
        ("epochs", 5.0),
        ("max_steps", 9),
        ("batch_size", 1),
        ("accumulation", 4),
        ("lora_r", 16),
        ("lora_alpha", 16),
        ("lora_dropout", 0.0),
        ("lora_targets", ("q_proj",)),
        ("weight_decay", 0.0),
        ("warmup_share", 0.0),
        ("max_grad_norm", 2.0),
        ("max_tokens", 512),
        ("precision", "bf16"),
    ],
)
def test_every_setting_that_decides_the_adapter_counts(
    settings: TrainSettings, field: str, value: object
) -> None:
    other = dataclasses.replace(settings, **{field: value})  # type: ignore[arg-type]
    found = differences(_identity(settings), _identity(other))
    assert len(found) == 1
    assert found[0].field == field


def test_settings_that_do_not_change_the_adapter_do_not_count(settings: TrainSettings) -> None:
    other = dataclasses.replace(
        settings, save_steps=7, keep_checkpoints=9, eval_steps=2, threads=1, fresh=True
    )
    assert differences(_identity(settings), _identity(other)) == []


def test_the_order_of_the_targets_does_not_count(settings: TrainSettings) -> None:
    one = dataclasses.replace(settings, lora_targets=("q_proj", "v_proj"))
    two = dataclasses.replace(settings, lora_targets=("v_proj", "q_proj"))
    assert differences(_identity(one), _identity(two)) == []


def test_an_int8_plan_counts_and_a_run_without_one_is_like_earlier_runs(
    settings: TrainSettings,
) -> None:
    plain = _identity(settings)
    assert "int8_plan" not in plain.settings
    planned = identity_of(settings, BASE, int8_plan_id="f" * 64)
    (change,) = differences(plain, planned)
    assert change.field == "int8_plan"
    # The name of the setting in checkpoints of earlier versions.
    earlier = msgspec.structs.replace(plain, settings={**plain.settings, "narrowing": "f" * 64})
    assert differences(earlier, planned) == []


def test_a_setting_that_no_longer_exists_can_be_accepted_by_its_name(
    settings: TrainSettings,
) -> None:
    here = _identity(settings)
    there = msgspec.structs.replace(here, settings={**here.settings, "wide_products": ["down"]})
    with pytest.raises(UsageError, match="wide_products"):
        require_same(there, here, where="checkpoint-3")
    require_acceptable(("wide_products",))
    (change,) = require_same(there, here, where="checkpoint-3", accepted=("wide_products",))
    assert change.field == "wide_products"


def test_changed_data_counts(settings: TrainSettings) -> None:
    before = _identity(settings)
    (settings.data_dir / "val.jsonl").write_text("other")
    assert [x.field for x in differences(before, _identity(settings))] == ["val_sha256"]


def test_same_weights_under_another_name_are_the_same_base(settings: TrainSettings) -> None:
    moved = msgspec.structs.replace(BASE, name="/models/base")
    assert differences(_identity(settings), _identity(settings, moved)) == []


def test_all_differences_are_named_at_once(settings: TrainSettings) -> None:
    other = dataclasses.replace(settings, lr=1e-4, seed=7)
    with pytest.raises(UsageError) as caught:
        require_same(_identity(settings), _identity(other), where="checkpoint-3")
    assert "`lr` `0.0002` there, `0.0001` here" in caught.value.message
    assert "`seed` `42` there, `7` here" in caught.value.message
    assert "--fresh" in caught.value.hint
    assert "--output-dir" in caught.value.hint


def test_other_weights_under_the_same_name_are_damage(settings: TrainSettings) -> None:
    changed = msgspec.structs.replace(BASE, sha256="c" * 64)
    with pytest.raises(IntegrityError, match="base_sha256"):
        require_same(_identity(settings), _identity(settings, changed), where="here")


def test_another_base_is_another_run(settings: TrainSettings) -> None:
    changed = msgspec.structs.replace(BASE, name="org/other", sha256="c" * 64)
    with pytest.raises(UsageError, match="org/other"):
        require_same(_identity(settings), _identity(settings, changed), where="here")


def test_identity_survives_json(settings: TrainSettings) -> None:
    identity = _identity(settings)
    again = msgspec.json.decode(msgspec.json.encode(identity), type=Identity)
    assert differences(identity, again) == []
