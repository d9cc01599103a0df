"""`journeyman.pipeline`: stages that are up to date are skipped, changes are named."""

from pathlib import Path

import msgspec
import pytest

from journeyman.errors import UsageError
from journeyman.pipeline import PipelineStage, _record, reason_to_run, run, run_stages, stages_of
from journeyman.settings import RunSettings


@pytest.fixture
def done(tmp_path: Path) -> PipelineStage:
    """A stage that has been run and recorded."""
    (tmp_path / "in").write_text("1", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("2", encoding="utf-8")
    stage = PipelineStage("make", {"n": 3}, (tmp_path / "in",), (tmp_path / "out",), lambda: None)
    _record(tmp_path, stage)
    return stage


def test_a_stage_must_run_until_it_is_done(tmp_path: Path) -> None:
    stage = PipelineStage("make", {}, (), (), lambda: None)
    assert reason_to_run(tmp_path, stage) == "not done yet"


def test_an_unchanged_stage_is_up_to_date(tmp_path: Path, done: PipelineStage) -> None:
    assert reason_to_run(tmp_path, done) == ""


def test_a_changed_setting_is_named(tmp_path: Path, done: PipelineStage) -> None:
    changed = msgspec.structs.replace(done, settings={"n": 4})
    assert reason_to_run(tmp_path, changed) == "changed settings: n"


def test_a_changed_input_makes_it_run_again(tmp_path: Path, done: PipelineStage) -> None:
    (tmp_path / "in").write_text("2", encoding="utf-8")
    assert reason_to_run(tmp_path, done) == "its input changed"


@pytest.mark.parametrize("name", ["file", "another"])
def test_a_changed_or_added_output_makes_it_run_again(
    tmp_path: Path, done: PipelineStage, name: str
) -> None:
    (tmp_path / "out" / name).write_text("other", encoding="utf-8")
    assert reason_to_run(tmp_path, done) == "its output was changed or removed"


def test_an_output_without_its_manifest_is_not_up_to_date(
    tmp_path: Path, done: PipelineStage
) -> None:
    (tmp_path / "stages" / "make.json").unlink()
    assert reason_to_run(tmp_path, done) == "not done yet"


def test_the_stages_of_a_run_read_what_the_stage_before_wrote(tmp_path: Path) -> None:
    settings = RunSettings(input=tmp_path / "log.jsonl", folder=tmp_path)
    done = {stage.name: stage for stage in stages_of(settings, lambda _: None)}
    assert list(done) == ["prepare", "train", "convert", "evaluate"]
    assert done["train"].reads[0].parent == done["prepare"].writes[0]
    assert done["convert"].reads == done["train"].writes
    assert set(done["convert"].writes) < set(done["evaluate"].reads)


def test_a_run_trains_as_the_evidence_recommends_unless_the_preset_says_otherwise(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.jsonl"
    for preset, rank in (("recommended", 16), ("given", 8)):
        settings = RunSettings(input=log, folder=tmp_path, preset=preset)  # type: ignore[arg-type]
        train = stages_of(settings, lambda _: None)[1]
        assert train.settings["lora_r"] == rank


def test_stages_that_are_up_to_date_are_skipped(tmp_path: Path) -> None:
    calls: list[str] = []
    (tmp_path / "in").touch()
    inputs = (tmp_path / "in",)
    work = [
        PipelineStage("a", {}, inputs, (), lambda: calls.append("a")),
        PipelineStage("b", {}, inputs, (), lambda: calls.append("b")),
    ]
    run_stages(tmp_path, work, lambda _: None)
    run_stages(tmp_path, work, lambda _: None)
    assert calls == ["a", "b"]


def test_the_output_of_a_changed_stage_is_moved_aside(tmp_path: Path, done: PipelineStage) -> None:
    made = tmp_path / "out"
    changed = msgspec.structs.replace(done, settings={"n": 4}, owns=(made,), act=made.mkdir)
    run_stages(tmp_path, [changed], lambda _: None)
    assert list(made.iterdir()) == []
    assert (tmp_path / "replaced" / "make-1" / "out" / "file").read_text("utf-8") == "2"


def test_an_unfinished_stage_keeps_its_output(tmp_path: Path, done: PipelineStage) -> None:
    (tmp_path / "stages" / "make.json").unlink()
    kept = msgspec.structs.replace(done, owns=(tmp_path / "out",))
    run_stages(tmp_path, [kept], lambda _: None)
    assert (tmp_path / "out" / "file").is_file()


def test_a_run_without_its_log_makes_no_folder(tmp_path: Path) -> None:
    settings = RunSettings(input=tmp_path / "log.jsonl", folder=tmp_path / "run")
    with pytest.raises(UsageError, match=r"log\.jsonl` is not a file"):
        run(settings)
    assert not (tmp_path / "run").exists()


def test_the_settings_of_every_stage_survive_their_manifest(tmp_path: Path) -> None:
    settings = RunSettings(input=tmp_path / "log.jsonl", folder=tmp_path)
    for stage in stages_of(settings, lambda _: None):
        _record(tmp_path, stage)
        assert reason_to_run(tmp_path, stage) == ""
