"""Merging and comparing on two-layer models: what is added, what is refused, what parity finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from journeyman.convert.merge import merge
from journeyman.convert.parity import ParityThresholds, parity_prompts, require_parity
from journeyman.errors import DataRefused, IntegrityError
from journeyman.events import Caution, Event
from journeyman.inference.torch_engine import TorchEngine
from journeyman.model.adapter import read_adapter
from journeyman.model.base import find_base
from journeyman.records import Message
from tests.small_models import small_adapter, small_dataset, small_model

PROMPT = (Message("user", "Write a function that adds 1."),)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))


def merged_folder(adapter: Path, base: Path, goal: Path) -> Path:
    goal.mkdir()
    merge(read_adapter(adapter), find_base(str(base)), goal)
    return goal


def logits(engine: TorchEngine) -> torch.Tensor:
    ids = torch.tensor([engine.chat.prompt_ids(PROMPT)])
    with torch.inference_mode():
        found: torch.Tensor = engine._model(input_ids=ids).logits
    return found


def sharpened(base: Path) -> Path:
    """The same base with logits 100 times as large: random weights alone give nothing but ties."""
    path = base / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] *= 100
    save_file(tensors, path, {"format": "pt"})
    return base


class Twin:
    """A served model that is a TorchEngine itself: the same interface, no llama.cpp."""

    def __init__(self, folder: Path) -> None:
        self.engine = TorchEngine(find_base(str(folder)))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return self.engine.chat.prompt_ids(messages)

    def complete(self, ids: Sequence[int], n_tokens: int) -> list[int]:
        return self.engine.complete(ids, n_tokens).ids


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_a_merged_model_says_what_the_adapter_says(
    tmp_path: Path, architecture: Literal["qwen2", "llama"]
) -> None:
    base = small_model(tmp_path / "base", architecture)
    adapter = small_adapter(tmp_path / "adapter", base, targets=("q_proj", "o_proj", "up_proj"))
    merged = merged_folder(adapter, base, tmp_path / "merged")
    plain = logits(TorchEngine(find_base(str(base)), precision="fp32"))
    adapted = logits(TorchEngine(find_base(str(base)), adapter=adapter, precision="fp32"))
    merged_engine = TorchEngine(find_base(str(merged)), precision="fp32")
    # float32 sums in another order: 1e-5 on logits of size 1; the adapter itself moves them more.
    assert (logits(merged_engine) - adapted).abs().max() < 1e-5
    assert (plain - adapted).abs().max() > 1e-3


def test_weights_without_an_adapter_keep_their_bytes(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    adapter = small_adapter(tmp_path / "adapter", base, targets=("q_proj",))
    merged = load_file(merged_folder(adapter, base, tmp_path / "merged") / "model.safetensors")
    before = load_file(base / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], merged[name])}
    assert changed == {f"model.layers.{n}.self_attn.q_proj.weight" for n in (0, 1)}


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "llama")
    adapter = small_adapter(tmp_path / "adapter", base)
    merged = merged_folder(adapter, base, tmp_path / "merged")
    assert "lm_head.weight" not in load_file(merged / "model.safetensors")


def test_a_small_update_of_a_bf16_weight_is_not_rounded_away(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    path = base / "model.safetensors"
    save_file({x: w.bfloat16() for x, w in load_file(path).items()}, path, {"format": "pt"})
    adapter = small_adapter(tmp_path / "adapter", base, targets=("q_proj",), size=1e-5)
    merged = load_file(merged_folder(adapter, base, tmp_path / "merged") / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    added = merged[name] - load_file(path)[name].float()
    assert merged[name].dtype == torch.float32
    # B's entries are near 1e-5, so the sum must differ nearly everywhere; in bf16 it would nowhere.
    assert (added != 0).float().mean() > 0.9


def test_an_adapter_of_another_shape_is_refused_with_both_shapes(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    adapter = small_adapter(tmp_path / "adapter", base, targets=("q_proj",))
    path = adapter / "adapter_model.safetensors"
    wider = {x: torch.cat([w, w], dim=1) for x, w in load_file(path).items()}
    save_file(wider, path)
    with pytest.raises(
        IntegrityError, match=r"q_proj.weight` is \(64, 64\), its update \(64, 128\)"
    ):
        merged_folder(adapter, base, tmp_path / "merged")


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    adapter = small_adapter(tmp_path / "adapter", base, targets=("q_proj",))
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if "lora_B" in name))
    save_file(tensors, path)
    with pytest.raises(IntegrityError, match="no matching A or B"):
        merged_folder(adapter, base, tmp_path / "merged")


def test_a_diverged_adapter_is_refused(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    adapter = small_adapter(tmp_path / "adapter", base, targets=("q_proj",))
    path = adapter / "adapter_model.safetensors"
    save_file({x: w * float("nan") for x, w in load_file(path).items()}, path)
    with pytest.raises(IntegrityError, match="is not finite in float16"):
        merged_folder(adapter, base, tmp_path / "merged")


def test_an_adapter_that_changes_nothing_is_a_caution(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base")
    adapter = small_adapter(tmp_path / "adapter", base, size=0.0)
    events: list[Event] = []
    (tmp_path / "merged").mkdir()
    merge(read_adapter(adapter), find_base(str(base)), tmp_path / "merged", events.append)
    cautions = [x.text for x in events if isinstance(x, Caution)]
    assert len(cautions) == 1
    assert f"the adapter `{adapter}` has no effect" in cautions[0]


def test_parity_holds_for_a_right_merge(tmp_path: Path) -> None:
    base = sharpened(small_model(tmp_path / "base", "llama"))
    adapter = small_adapter(tmp_path / "adapter", base)
    adapted = TorchEngine(find_base(str(base)), adapter=adapter)
    served = Twin(merged_folder(adapter, base, tmp_path / "merged"))
    prompts = parity_prompts(small_dataset(tmp_path / "data"))
    parity = require_parity(adapted, served, prompts, ParityThresholds(3, 8))
    assert (parity.equal, parity.tokens) == (3, 8)


def test_parity_finds_a_merge_with_another_scale(tmp_path: Path) -> None:
    base = sharpened(small_model(tmp_path / "base", "llama"))
    adapter = small_adapter(tmp_path / "adapter", base, size=1.0)
    wrong = small_adapter(tmp_path / "wrong", base, size=1.0, alpha=2)
    served = Twin(merged_folder(wrong, base, tmp_path / "merged"))
    adapted = TorchEngine(find_base(str(base)), adapter=adapter)
    with pytest.raises(IntegrityError, match="differently from the adapter: on `") as raised:
        require_parity(adapted, served, [PROMPT], ParityThresholds(1, 16))
    assert "differs" in raised.value.message


def test_parity_finds_a_served_template_that_differs(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "llama")
    served = Twin(base)
    template = (base / "chat_template.jinja").read_text().replace("named SmolLM", "named Max")
    (base / "chat_template.jinja").write_text(template)
    adapted = TorchEngine(find_base(str(base)))
    with pytest.raises(IntegrityError, match=r"different tokens in training and in llama.cpp"):
        require_parity(adapted, served, [PROMPT], ParityThresholds(1, 4))


def test_too_few_prompts_that_fit_are_no_proof(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "llama")
    adapted, served = TorchEngine(find_base(str(base))), Twin(base)
    with pytest.raises(IntegrityError, match="only 1 of 2 prompts could be compared"):
        require_parity(
            adapted, served, [PROMPT, (Message("user", "x " * 5000),)], ParityThresholds(2, 2)
        )


def test_prompts_come_from_validation_rows_first_and_never_twice(tmp_path: Path) -> None:
    folder = small_dataset(tmp_path / "data", val=2, test=1)
    prompts = parity_prompts(folder)
    assert [len(x) for x in prompts[:3]] == [2, 2, 2]  # system and user, without the answer
    assert len(prompts) == len(set(prompts)) > 10
    (folder / "val.jsonl").write_text("{}\n")
    with pytest.raises(DataRefused):
        parity_prompts(folder)
