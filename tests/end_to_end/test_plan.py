"""`journeyman plan` on a small model: it reads, probes and reports, and loads no weight."""

import json
from pathlib import Path

import pytest

from journeyman.cli import run
from journeyman.model.weight_files import weight_files
from journeyman.settings import Engine, TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.recipe import recipe_of
from journeyman.train.forecast.base_model import (
    KNOWN,
    describe_base,
    describe_folder,
    smaller_siblings,
)
from journeyman.train.forecast.probe import Depths, measure, saved_bytes
from journeyman.train.forecast.probe_parts import random_engine
from journeyman.train.forecast.run import estimate_rows, work_of
from journeyman.train.forecast.shape import shape_of
from tests.small_models import small_dataset, small_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("data"))


def words(base: Path, data: Path, output: Path) -> list[str]:
    given = {"--base": base, "--data-dir": data, "--output-dir": output, "--threads": 1}
    return ["plan", *(str(word) for pair in given.items() for word in pair)]


def test_the_plan_is_data_without_reading_a_weight_or_writing_a_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, output = small_model(tmp_path / "base"), tmp_path / "output"
    for file in weight_files(base):
        file.write_bytes(b"no weights at all")
    assert run([*words(base, data, output), "--json", "--save-steps", "50"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["hours"]["low_s"] < made["hours"]["total_s"] < made["hours"]["high_s"]
    assert made["tokens"]["real"] > 3 * made["tokens"]["rows"]
    assert "save-beyond-run" in [one["id"] for one in made["findings"]]
    # Embedding and output layer 2 x 49152 x 64, and two layers of 41 K.
    assert 6_291_456 < made["parameters"] < 6_400_000
    assert made["tokens"]["exact"]
    assert list(tmp_path.iterdir()) == [base]


def test_without_json_there_are_tables_and_hints(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words(base, data, tmp_path), "--serve-base", "other/served"]) == 0
    captured = capsys.readouterr()
    assert "seed recipe" in captured.out
    assert "answer time" in captured.out
    assert "you serve `other/served`" in captured.err
    assert "hint: give --base the model that you serve" in captured.err


def test_a_target_that_the_model_lacks_is_refused_before_the_run(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words(base, data, tmp_path), "--lora-targets", "lm_head"]) == 2
    assert "`lm_head`" in capsys.readouterr().err


def test_a_model_that_is_not_in_the_cache_is_planned_from_its_known_shape(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with describe_base("HuggingFaceTB/SmolLM2-135M-Instruct", lambda _: None) as found:
        assert found.chat is None
        assert shape_of(found.config).parameters == 134_515_008


def test_estimated_rows_share_no_prefix(data: Path) -> None:
    rows = estimate_rows(data / "train.jsonl", max_tokens=2048).used
    work = work_of(rows, padded=False)
    assert work.computed == work.real > 8 * 20


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # The exact numbers that their makers publish.
        ("Qwen/Qwen2.5-Coder-7B-Instruct", 7_615_616_512),
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", 494_032_768),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384),
    ],
)
def test_known_shapes_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    from transformers import AutoConfig

    assert shape_of(AutoConfig.for_model(**KNOWN[name])).parameters == parameters


def test_smaller_models_of_a_family_are_known() -> None:
    assert smaller_siblings("Qwen/Qwen2.5-Coder-7B-Instruct")[0] == "Qwen/Qwen2.5-Coder-3B-Instruct"
    assert smaller_siblings("somebody/model") == ()


def test_the_config_in_a_gguf_header_is_that_of_its_model(tmp_path: Path) -> None:
    with describe_base("smollm2-135m", lambda _: None) as found:
        shape = shape_of(found.config, ("q_proj", "down_proj"))
    assert (shape.parameters, shape.layers, shape.tied) == (134_515_008, 30, True)
    # 30 layers, rank 8: q 576 + 576, down 1536 + 576.
    settings = TrainSettings(lora_r=8, lora_targets=("q_proj", "down_proj"))
    assert shape.adapter_parameters(settings) == 30 * 8 * 3264


def test_a_folder_with_only_the_small_files_must_be_downloaded(base: Path, tmp_path: Path) -> None:
    small_model(tmp_path)
    size_bytes = describe_folder("here", tmp_path).weight_bytes
    assert size_bytes == sum(file.stat().st_size for file in weight_files(tmp_path))
    for file in weight_files(tmp_path):
        file.unlink()
    assert describe_folder("there", tmp_path).weight_bytes is None


@pytest.mark.parametrize("engine", ["hf", "fast"])
def test_each_engine_can_be_probed(base: Path, engine: Engine) -> None:
    config = describe_folder("small", base).config
    recipe = recipe_of(TrainSettings(engine=engine, precision="fp32"), config)
    rows = [TokenRow("a", (49000,) * 64, (True,) * 64)]
    found = measure(
        recipe,
        shape_of(config),
        [rows],
        depths=Depths(1, 2, 64),
    )
    assert (found.shallow, found.deep, len(found.batches)) == (1, 2, 1)
    assert found.batches[0].work.computed == 64
    assert min(found.head_s, found.optimizer_s, found.batches[0].deep_forward_s) > 0


def test_a_layer_keeps_the_same_for_every_token_of_any_row(base: Path) -> None:
    config = describe_folder("small", base).config
    settings = TrainSettings(engine="hf", precision="fp32", lora_dropout=0.0)
    recipe = recipe_of(settings, config)
    engines = {layers: random_engine(recipe, layers) for layers in (1, 2)}
    short, long = (saved_bytes(engines, [TokenRow("a", (1,) * n, (True,) * n)]) for n in (64, 128))
    assert long == pytest.approx(short)
    # At least the inputs of its four adapted layers and of its MLP, 64 or 128 floats each.
    assert long > 4 * (3 * 64 + 128)
