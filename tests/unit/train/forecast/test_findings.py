"""Findings before a run: the mistakes that cost the forerunner a night, and others."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.forecast.answer_time import answer_time_of
from journeyman.train.forecast.base_mismatch import dataset_findings, same_name
from journeyman.train.forecast.findings import findings_of
from journeyman.train.forecast.records import DiskForecast, Forecast, MemoryForecast, Steps, Tokens
from journeyman.train.forecast.shape import ModelShape

GIB = 2**30


def sound_plan() -> Forecast:
    tokens = Tokens(
        rows=238, val_rows=29, left_out=0, exact=True, longest=640, real=100, computed=105,
        trained=80, trained_an_epoch=80, real_share=100 / 105, seed_computed=400,
        seed_real_share=0.25, operation_share=0.2,
    )  # fmt: skip
    return Forecast(
        base="b",
        parameters=1000,
        adapter_parameters=100,
        engine="hf",
        precision="fp32",
        tokens=tokens,
        steps=Steps(steps=112, rows_a_step=8, warmup=11, checkpoints=112, validations=4),
        memory=MemoryForecast(
            GIB, GIB, 0, GIB, GIB, 4 * GIB, 20 * GIB, 24 * GIB, "the machine's memory"
        ),
        disk=DiskForecast(0, 0, GIB, GIB, 0, 50 * GIB),
        findings=(),
    )


SOUND = TrainSettings(
    lora_r=16,
    lora_alpha=32,
    lora_dropout=0.0,
    lora_targets=("q_proj", "v_proj", "up_proj"),
)


def ids(plan: Forecast, settings: TrainSettings = SOUND) -> dict[str, str]:
    return {one.id: one.level for one in findings_of(plan, settings)}


def test_a_sound_run_has_no_finding() -> None:
    assert ids(sound_plan()) == {}


@pytest.mark.parametrize(
    ("steps", "changes", "expected"),
    [
        # The forerunner: warm-up 50, save 50 and eval 50 of 24 steps.
        ({"steps": 24, "warmup": 24}, {"warmup_share": 0.99}, "warmup-beyond-run"),
        ({"steps": 24, "warmup": 12}, {"warmup_share": 0.5}, "warmup-long"),
        ({"steps": 24}, {"save_steps": 50}, "save-beyond-run"),
        ({"steps": 24}, {"eval_steps": 50}, "eval-beyond-run"),
        ({"steps": 24}, {}, "few-steps"),
        ({"rows_a_step": 500}, {}, "step-beyond-rows"),
        ({}, {"lora_targets": ("q_proj", "v_proj")}, "attention-only"),
        ({}, {"lora_alpha": 8}, "alpha"),
        ({}, {"lr": 2e-5}, "learning-rate"),
        ({}, {"lora_dropout": 0.1}, "dropout"),
        ({}, {"epochs": 9.0}, "epochs"),
    ],
)
def test_each_mistake_in_the_settings_is_named(
    steps: dict[str, int], changes: dict[str, object], expected: str
) -> None:
    plan = sound_plan()
    plan = msgspec.structs.replace(plan, steps=msgspec.structs.replace(plan.steps, **steps))
    settings = dataclasses.replace(SOUND, **changes)  # type: ignore[arg-type]
    assert expected in ids(plan, settings)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"real_share": 0.226}, "padding"),
        ({"left_out": 3}, "left-out"),
        ({"val_rows": 0}, "no-validation"),
        ({"exact": False}, "tokens-estimated"),
        ({"trained_an_epoch": 101}, "small-adapter"),
    ],
)
def test_each_mistake_in_the_data_is_named(changes: dict[str, object], expected: str) -> None:
    plan = sound_plan()
    tokens = msgspec.structs.replace(plan.tokens, **changes)
    assert list(ids(msgspec.structs.replace(plan, tokens=tokens))) == [expected]


@pytest.mark.parametrize(
    ("peak_gib", "expected"),
    [(19, {}), (22, {"memory-in-use": "warning"}), (25, {"memory": "stop"})],
)
def test_memory_stops_a_run_only_if_it_can_never_fit(
    peak_gib: int, expected: dict[str, str]
) -> None:
    plan = sound_plan()
    memory = msgspec.structs.replace(plan.memory, peak_bytes=peak_gib * GIB)
    assert ids(msgspec.structs.replace(plan, memory=memory)) == expected


@pytest.mark.parametrize(
    ("written_gib", "expected"),
    [(40, {}), (49, {"disk-convert": "warning"}), (51, {"disk": "stop"})],
)
def test_a_full_disk_is_found_before_the_run(written_gib: int, expected: dict[str, str]) -> None:
    plan = sound_plan()
    disk = msgspec.structs.replace(plan.disk, checkpoints_bytes=written_gib * GIB)
    assert ids(msgspec.structs.replace(plan, disk=disk)) == expected


def seven_billion() -> ModelShape:
    return ModelShape(7_615_616_512, 28, 233_057_280, 3584, 152_064, 3584, 18944, False, ())


def test_seven_billion_weights_cannot_answer_in_12_s_on_a_desktop() -> None:
    rows = [TokenRow("a", (1,) * 600, (False,) * 100 + (True,) * 500)]
    found = answer_time_of(rows, seven_billion(), memory_rate=60e9, product_rate=1e12)
    # 7.616 G less an embedding of 0.545 G, at 0.614 bytes each: 4.34 GB, so 13.8 tokens/s.
    assert found.tokens_per_s == pytest.approx(13.8, abs=0.05)
    assert not found.can_be_met
    plan = msgspec.structs.replace(sound_plan(), serving=found)
    assert ids(plan) == {"serving-goal": "warning"}


def test_answers_of_the_fitting_length_meet_the_goal() -> None:
    rows = [TokenRow("a", (1,) * 600, (False,) * 100 + (True,) * 500)]
    found = answer_time_of(rows, seven_billion(), memory_rate=60e9, product_rate=1e12)
    short = found.fitting_tokens
    shorter = [TokenRow("a", (1,) * (100 + short), (False,) * 100 + (True,) * short)]
    assert answer_time_of(shorter, seven_billion(), memory_rate=60e9, product_rate=1e12).can_be_met


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "models/qwen2.5-coder-7b-instruct-q4_k_m.gguf", True),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "Qwen2.5-Coder-7B-Instruct.F16.gguf", True),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "Qwen/Qwen3-8B", False),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct", False),
        ("llama-3-1", "llama-3", False),
    ],
)
def test_names_of_one_model_are_the_same(left: str, right: str, same: bool) -> None:
    assert same_name(left, right) is same


def test_a_dataset_of_another_base_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text('{"base": "Qwen/Qwen3-8B"}', encoding="utf-8")
    found = list(dataset_findings("smollm2-135m", tmp_path))
    assert [one.id for one in found] == ["dataset-base"]
    assert "Qwen/Qwen3-8B" in found[0].text
    assert list(dataset_findings("Qwen/Qwen3-8B", tmp_path)) == []
