"""The hf engine: losses and gradients against those of transformers and PEFT."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from journeyman.events import Event, Note
from journeyman.model.adapter_files import read_weights
from journeyman.model.base import find_base, load_causal_model
from journeyman.model.chat import load_chat
from journeyman.records import BaseModel
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow, read_rows
from journeyman.train.engine.adapter_parameters import copy_into, initialise
from journeyman.train.engine.hf import HfEngine
from journeyman.train.engine.interface import total
from journeyman.train.stage import train
from tests.small_models import small_dataset, small_model
from tests.training_runs import short_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("data"), train=10, val=3)


def _engine(base: Path, **changes: object) -> HfEngine:
    settings = dataclasses.replace(
        TrainSettings(base=str(base), lora_dropout=0.0),
        **changes,  # type: ignore[arg-type]
    )
    engine = HfEngine(find_base(str(base)), settings, dtype=torch.float32)
    initialise(engine.parameters(), seed=1)
    with torch.no_grad():
        for name, parameter in engine.parameters().items():
            if "lora_B" in name:
                # With B at zero the gradient of A is zero, and no test of it could fail.
                parameter.add_(0.05)
    return engine


def _rows(base: Path, data: Path) -> Sequence[TokenRow]:
    chat = load_chat(find_base(str(base)))
    return read_rows(data / "train.jsonl", chat, max_tokens=2048).used


def _gradients(engine: HfEngine) -> dict[str, torch.Tensor]:
    found = {}
    for name, parameter in engine.parameters().items():
        assert parameter.grad is not None
        found[name] = parameter.grad.clone()
        parameter.grad = None
    return found


def test_accumulation_matches_one_big_batch(base: Path, data: Path) -> None:
    engine, rows = _engine(base), _rows(base, data)[:6]
    weight = 1 / sum(row.trained_tokens for row in rows)
    whole = engine.backward(rows, weight=weight, seed=0)
    expected = _gradients(engine)
    parts = [rows[:1], rows[1:3], rows[3:]]
    tally = total([engine.backward(part, weight=weight, seed=0) for part in parts])
    assert tally.loss == pytest.approx(whole.loss, abs=1e-5)
    assert tally.trained_tokens == whole.trained_tokens
    for name, gradient in _gradients(engine).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_loss_and_gradient_are_those_of_transformers_own_masked_loss(
    base: Path, data: Path
) -> None:
    engine, rows = _engine(base), _rows(base, data)[:3]
    weight = 1 / sum(row.trained_tokens for row in rows)
    tally = engine.backward(rows, weight=weight, seed=0)
    found = _gradients(engine)
    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros((3, longest), dtype=torch.int64)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for at, row in enumerate(rows):
        size = len(row.ids)
        ids[at, :size], mask[at, :size] = torch.tensor(row.ids), 1
        labels[at, :size] = torch.where(torch.tensor(row.trained), ids[at, :size], -100)
    output = engine._model(input_ids=ids, attention_mask=mask, labels=labels)
    torch.autograd.backward(output.loss)
    assert tally.loss == pytest.approx(float(output.loss.detach()), abs=1e-5)
    for name, gradient in _gradients(engine).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_gradient_checkpointing_gives_the_same_loss_and_gradient(base: Path, data: Path) -> None:
    engine, rows = _engine(base, lora_dropout=0.1), _rows(base, data)[:3]
    kept, gradient = engine.backward(rows, weight=0.01, seed=3), _gradients(engine)
    engine.enable_gradient_checkpointing()
    again, other = engine.backward(rows, weight=0.01, seed=3), _gradients(engine)
    assert any(getattr(m, "gradient_checkpointing", False) for m in engine._model.modules())
    assert again == kept
    for name, tensor in other.items():
        torch.testing.assert_close(gradient[name], tensor, rtol=0, atol=0)


def test_whole_logits_give_the_same_loss(base: Path, data: Path) -> None:
    engine, rows = _engine(base), _rows(base, data)[:3]
    assert engine._plain_head
    chunked, gradients = engine.backward(rows, weight=0.01, seed=0), _gradients(engine)
    engine._plain_head = False
    whole, expected = engine.backward(rows, weight=0.01, seed=0), _gradients(engine)
    assert chunked.loss == pytest.approx(whole.loss, abs=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_a_model_that_caps_its_logits_is_detected_and_reported(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=30.0,
    )
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    base = BaseModel("capped", tmp_path, "a" * 64, "b" * 64, "folder")
    events: list[Event] = []
    engine = HfEngine(base, TrainSettings(), dtype=torch.float32, report=events.append)
    row = TokenRow("row", (1, 5, 9, 2), (False, False, True, True))
    logits = engine._model(input_ids=torch.tensor([row.ids])).logits[0, 1:3]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([9, 2]), reduction="sum")
    assert engine.loss([row]).loss_sum == pytest.approx(float(expected.detach()), abs=1e-5)
    assert any(isinstance(event, Note) and "whole logits" in event.text for event in events)


def test_dropout_follows_from_its_seed_and_validation_has_none(base: Path, data: Path) -> None:
    engine, rows = _engine(base, lora_dropout=0.5), _rows(base, data)[:2]
    losses = [engine.backward(rows, weight=1.0, seed=seed).loss for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert engine.loss(rows) == engine.loss(rows)


@pytest.mark.parametrize("folder", ["final_model", "checkpoint-2"])
def test_peft_loads_it_with_equal_logits(
    base: Path, data: Path, tmp_path: Path, folder: str
) -> None:
    from peft import PeftModel

    settings = short_run(base, data, tmp_path, max_steps=2, epochs=1)
    train(settings)
    found = find_base(str(base))
    engine = HfEngine(found, settings, dtype=torch.float32)
    copy_into(engine.parameters(), read_weights(tmp_path / folder))
    plain = load_causal_model(found, torch.float32)
    ids = torch.arange(40).unsqueeze(0)
    with torch.inference_mode():
        before = plain(input_ids=ids).logits
        peft = PeftModel.from_pretrained(plain, str(tmp_path / folder)).eval()
        theirs = peft(input_ids=ids).logits
        ours = engine._model(input_ids=ids).logits
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, before, atol=1e-3)
