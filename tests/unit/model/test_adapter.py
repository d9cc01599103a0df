"""Adapter folders: what is read, and what is refused with which reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from journeyman.errors import IntegrityError, UsageError
from journeyman.model.adapter import read_adapter, require_fit
from journeyman.records import BaseModel
from journeyman.runs import write_manifest

PLAIN = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "k_proj"],
    "base_model_name_or_path": "some/base",
    "bias": "none",
}
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
BASE = {"name": "some/base", "sha256": "a" * 64, "template_sha256": "b" * 64}


def made_adapter(folder: Path, names: tuple[str, ...] = (), /, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | config))
    every = (f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight", *names)
    save_file(
        {name: np.ones((4, 4), np.float32) for name in every}, folder / "adapter_model.safetensors"
    )
    return folder


def made_base(folder: Path, *, sha256: str = "a" * 64) -> BaseModel:
    return BaseModel("other/base", folder, sha256, "b" * 64, "folder")


def test_an_adapter_knows_its_base_rank_and_scale(tmp_path: Path) -> None:
    made_adapter(tmp_path)
    write_manifest(tmp_path, stage="train", settings={}, inputs={}, facts={"base": BASE})
    adapter = read_adapter(tmp_path)
    assert (adapter.base_name, adapter.base_sha256) == ("some/base", "a" * 64)
    assert (adapter.rank, adapter.scale) == (4, 2.0)


def test_without_a_manifest_the_base_is_the_configurations(tmp_path: Path) -> None:
    adapter = read_adapter(made_adapter(tmp_path))
    assert (adapter.base_name, adapter.base_sha256) == ("some/base", None)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("modules_to_save", ["lm_head"]),
        ("use_rslora", True),
        ("use_dora", True),
        ("alpha_pattern", {"q_proj": 32}),
        ("rank_pattern", {"q_proj": 2}),
        ("bias", "all"),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("trainable_token_indices", [1]),
    ],
)
def test_more_than_plain_lora_is_refused_by_name(
    tmp_path: Path, setting: str, value: object
) -> None:
    with pytest.raises(UsageError, match=f"`{setting}`"):
        read_adapter(made_adapter(tmp_path, (), **{setting: value}))


def test_every_reason_is_said_at_once(tmp_path: Path) -> None:
    folder = made_adapter(tmp_path, peft_type="IA3", use_dora=True, r=0, lora_alpha="8")
    with pytest.raises(UsageError) as raised:
        read_adapter(folder)
    reasons = raised.value.message.split("; ")
    assert [("IA3" in reasons[0]), len(reasons)] == [True, 4]


def test_trained_embeddings_are_refused(tmp_path: Path) -> None:
    folder = made_adapter(tmp_path, ("base_model.model.lm_head.weight",))
    with pytest.raises(UsageError, match=r"`base_model.model.lm_head.weight` is not a LoRA matrix"):
        read_adapter(folder)


def test_a_pickled_adapter_is_refused_unread(tmp_path: Path) -> None:
    folder = made_adapter(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UsageError, match=r"`adapter_model.bin` is a pickle, never read"):
        read_adapter(folder)


def test_a_cut_off_adapter_is_damaged(tmp_path: Path) -> None:
    path = made_adapter(tmp_path) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(IntegrityError, match=r"adapter_model.safetensors` is damaged"):
        read_adapter(tmp_path)


def test_a_folder_without_a_configuration_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`adapter_config.json` is missing"):
        read_adapter(tmp_path)


def test_another_base_is_refused_and_both_are_named(tmp_path: Path) -> None:
    made_adapter(tmp_path)
    write_manifest(tmp_path, stage="train", settings={}, inputs={}, facts={"base": BASE})
    adapter = read_adapter(tmp_path)
    require_fit(adapter, made_base(tmp_path))
    with pytest.raises(
        IntegrityError, match="`some/base@aaaaaaa`, the base loaded is `other/base@c"
    ):
        require_fit(adapter, made_base(tmp_path, sha256="c" * 64))


def test_another_vocabulary_is_refused_with_the_first_token_that_differs(tmp_path: Path) -> None:
    adapter = read_adapter(made_adapter(tmp_path / "adapter"))
    base = made_base(tmp_path / "base")
    base.folder.mkdir()
    for folder, word in ((adapter.folder, "yes"), (base.folder, "no")):
        vocabulary = {"model": {"vocab": {"a": 0, word: 1, "z": 2}}}
        (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(
        IntegrityError, match="token 1 is `yes` in the adapter's tokenizer and `no`"
    ):
        require_fit(adapter, base)
