"""Training a two-layer model for a few steps: its losses, and the files of the run."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from journeyman.errors import UsageError
from journeyman.events import Event, Note, Progress
from journeyman.model.adapter import read_adapter, require_fit
from journeyman.model.base import find_base
from journeyman.train.checkpoint.result import TrainingResult
from journeyman.train.stage import train
from tests.small_models import small_dataset, small_model
from tests.training_runs import drawn_steps, names, short_run

CHECKPOINT = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "manifest.json",
    "manifest.sha256",
    "optimizer.safetensors",
    "state.json",
}
FINAL = {
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "manifest.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("data"), train=10, val=3)


@pytest.fixture(scope="module")
def run(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(short_run(base, data, tmp_path_factory.mktemp("run") / "out"))


def test_loss_falls_on_rows_that_were_not_trained_on(run: TrainingResult) -> None:
    assert run.final.val_loss_base is not None
    assert run.final.val_loss_final is not None
    assert run.final.val_loss_final < run.final.val_loss_base - 0.3
    # 10 rows by 4 are 3 steps an epoch.
    assert run.final.steps == 9


def test_every_folder_has_exactly_its_files(run: TrainingResult) -> None:
    output_dir = run.final_model.parent
    assert names(output_dir) == {
        ".lock",
        "checkpoint-6",  # the best by validation loss
        "checkpoint-8",
        "checkpoint-9",
        "final_model",
        "logs",
        "losses.png",
        "start.json",
        "status.json",
        "train.log",
        "training_config.json",
    }
    assert names(output_dir / "checkpoint-9") == CHECKPOINT
    assert names(run.final_model) == FINAL
    (events,) = (output_dir / "logs").iterdir()
    assert events.name.startswith("events.out.tfevents.")


def test_curves_show_every_step_and_validation(run: TrainingResult) -> None:
    output_dir = run.final_model.parent
    each_step = ("loss", "lr", "gradient_norm", "tokens_per_s", "rss_gib")
    for curve in each_step:
        assert drawn_steps(output_dir, f"train/{curve}") == list(range(1, 10))
    assert drawn_steps(output_dir, "val/loss") == [0, 3, 6, 9]


def test_the_log_in_the_folder_has_the_whole_run(run: TrainingResult) -> None:
    log = (run.final_model.parent / "train.log").read_text()
    for text in ("== train:", "threads: 1", "validation loss after step 9", "9 steps, "):
        assert log.count(text) == 1


def test_a_loss_warning_is_in_the_log_and_in_the_result(
    base: Path, data: Path, tmp_path: Path
) -> None:
    settings = short_run(base, data, tmp_path / "out", lr=1e-9, epochs=2)
    result = train(settings)
    (advice,) = result.final.advice
    assert "the training loss hardly changes" in advice.text
    assert "`--lr 2e-9`" in advice.hint
    assert f"warning: {advice.text}" in (tmp_path / "out" / "train.log").read_text()
    assert train(settings) == result


def test_training_config_has_the_resolved_settings(run: TrainingResult) -> None:
    config = json.loads((run.final_model.parent / "training_config.json").read_text())
    assert config["settings"]["precision"] in {"fp32", "bf16", "int8"}
    assert config["settings"]["accumulation"] == 2
    assert (config["steps"], config["train_rows"], config["val_rows"]) == (9, 10, 3)
    assert config["versions"]["torch"]
    assert config["machine"]


def test_the_adapter_fits_its_base_and_names_it_as_written(run: TrainingResult, base: Path) -> None:
    adapter = read_adapter(run.final_model)
    assert adapter.base_name == str(base)
    assert (adapter.rank, adapter.alpha) == (8, 32)
    require_fit(adapter, find_base(str(base)))


def test_same_seed_gives_the_same_bits(
    run: TrainingResult, base: Path, data: Path, tmp_path: Path
) -> None:
    again = train(short_run(base, data, tmp_path / "again"))
    files = [one.final_model / "adapter_model.safetensors" for one in (run, again)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_finished_run_is_reported_and_changes_nothing(
    run: TrainingResult, base: Path, data: Path
) -> None:
    before = (run.final_model / "manifest.json").read_bytes()
    events: list[Event] = []
    again = train(short_run(base, data, run.final_model.parent), events.append)
    assert again == run
    assert any(isinstance(event, Note) and "is finished" in event.text for event in events)
    assert (run.final_model / "manifest.json").read_bytes() == before


def test_another_run_in_the_folder_is_refused_and_fresh_moves_it_aside(
    base: Path, data: Path, tmp_path: Path
) -> None:
    first = short_run(base, data, tmp_path / "out", max_steps=2)
    train(first)
    second = dataclasses.replace(first, lr=5e-3)
    with pytest.raises(UsageError, match=r"`lr` `0\.01` there, `0\.005` here"):
        train(second)
    train(dataclasses.replace(second, fresh=True))
    moved = tmp_path / "out" / "earlier-1"
    assert names(moved) >= {"checkpoint-1", "checkpoint-2", "final_model", "logs"}
    assert train(second).final.steps == 2


def test_progress_shows_step_loss_throughput_and_time_left(
    base: Path, data: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    settings = short_run(base, data, tmp_path / "out", max_steps=2)
    train(settings, events.append)
    progress = [one for one in events if isinstance(one, Progress) and one.task == "train"]
    assert len(progress) == 4
    assert "step 1/2  loss 1" in progress[0].detail
    # A run this short is not probed, so the machine's limit is not known.
    assert re.fullmatch(
        r"step 1/2  loss 10\.\d{3}  val 10\.\d{3}  \d+ tok/s  \d\.\d GiB", progress[0].detail
    )
    assert progress[-1].done == progress[-1].total
    # The last checkpoint and the last validation are still to come.
    assert progress[-1].remaining_s is not None
    assert progress[-1].remaining_s > 0
    assert [one.done for one in progress] == sorted(one.done for one in progress)


def test_a_target_that_the_model_lacks_is_refused_with_those_it_has(
    base: Path, data: Path, tmp_path: Path
) -> None:
    settings = short_run(base, data, tmp_path / "out")
    for target in ("c_attn", "lm_head", "embed_tokens"):
        with pytest.raises(UsageError, match=target) as caught:
            train(dataclasses.replace(settings, lora_targets=("q_proj", target)))
        assert "down_proj" in caught.value.hint


def test_a_foreign_final_model_is_never_overwritten(base: Path, data: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "out" / "final_model"
    foreign.mkdir(parents=True)
    (foreign / "adapter_model.safetensors").write_bytes(b"precious")
    with pytest.raises(UsageError, match="not written by this program"):
        train(short_run(base, data, tmp_path / "out"))
    assert (foreign / "adapter_model.safetensors").read_bytes() == b"precious"
