"""`journeyman.pipeline`: what is fresh is skipped, what changed is named."""

from pathlib import Path

import msgspec
import pytest

from journeyman.errors import UsageError
from journeyman.pipeline import PipelineStage, _record, carry_out, run, stale_because, steps
from journeyman.settings import RunSettings


@pytest.fixture
def done(tmp_path: Path) -> PipelineStage:
    """A step that has been carried out and recorded."""
    (tmp_path / "in").write_text("1", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("2", encoding="utf-8")
    step = PipelineStage("make", {"n": 3}, (tmp_path / "in",), (tmp_path / "out",), lambda: None)
    _record(tmp_path, step)
    return step


def test_a_step_is_stale_until_it_is_done(tmp_path: Path) -> None:
    step = PipelineStage("make", {}, (), (), lambda: None)
    assert stale_because(tmp_path, step) == "not done yet"


def test_an_unchanged_step_is_fresh(tmp_path: Path, done: PipelineStage) -> None:
    assert stale_because(tmp_path, done) == ""


def test_a_changed_setting_is_named(tmp_path: Path, done: PipelineStage) -> None:
    changed = msgspec.structs.replace(done, settings={"n": 4})
    assert stale_because(tmp_path, changed) == "changed: n"


def test_a_changed_input_makes_it_stale(tmp_path: Path, done: PipelineStage) -> None:
    (tmp_path / "in").write_text("2", encoding="utf-8")
    assert stale_because(tmp_path, done) == "its input changed"


@pytest.mark.parametrize("name", ["file", "another"])
def test_a_changed_or_added_output_makes_it_stale(
    tmp_path: Path, done: PipelineStage, name: str
) -> None:
    (tmp_path / "out" / name).write_text("other", encoding="utf-8")
    assert stale_because(tmp_path, done) == "its output was changed or removed"


def test_an_output_that_only_exists_is_not_fresh(tmp_path: Path, done: PipelineStage) -> None:
    (tmp_path / "stages" / "make.json").unlink()
    assert stale_because(tmp_path, done) == "not done yet"


def test_the_stages_of_a_run_read_what_the_stage_before_wrote(tmp_path: Path) -> None:
    settings = RunSettings(input=tmp_path / "log.jsonl", folder=tmp_path)
    done = {step.name: step for step in steps(settings, lambda _: None)}
    assert list(done) == ["prepare", "train", "convert", "evaluate"]
    assert done["train"].reads[0].parent == done["prepare"].writes[0]
    assert done["convert"].reads == done["train"].writes
    assert set(done["convert"].writes) < set(done["evaluate"].reads)


def test_a_run_trains_as_the_evidence_recommends_unless_told(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for preset, rank in (("recommended", 16), ("given", 8)):
        settings = RunSettings(input=log, folder=tmp_path, preset=preset)  # type: ignore[arg-type]
        train = steps(settings, lambda _: None)[1]
        assert train.settings["lora_r"] == rank


def test_fresh_steps_are_not_done_again(tmp_path: Path) -> None:
    calls: list[str] = []
    (tmp_path / "in").touch()
    inputs = (tmp_path / "in",)
    work = [
        PipelineStage("a", {}, inputs, (), lambda: calls.append("a")),
        PipelineStage("b", {}, inputs, (), lambda: calls.append("b")),
    ]
    carry_out(tmp_path, work, lambda _: None)
    carry_out(tmp_path, work, lambda _: None)
    assert calls == ["a", "b"]


def test_what_a_changed_step_made_before_is_kept_aside(tmp_path: Path, done: PipelineStage) -> None:
    made = tmp_path / "out"
    changed = msgspec.structs.replace(done, settings={"n": 4}, owns=(made,), act=made.mkdir)
    carry_out(tmp_path, [changed], lambda _: None)
    assert list(made.iterdir()) == []
    assert (tmp_path / "replaced" / "make-1" / "out" / "file").read_text("utf-8") == "2"


def test_an_unfinished_step_is_gone_on_with(tmp_path: Path, done: PipelineStage) -> None:
    (tmp_path / "stages" / "make.json").unlink()
    kept = msgspec.structs.replace(done, owns=(tmp_path / "out",))
    carry_out(tmp_path, [kept], lambda _: None)
    assert (tmp_path / "out" / "file").is_file()


def test_a_run_without_its_log_makes_no_folder(tmp_path: Path) -> None:
    settings = RunSettings(input=tmp_path / "log.jsonl", folder=tmp_path / "run")
    with pytest.raises(UsageError, match=r"log\.jsonl` is not a file"):
        run(settings)
    assert not (tmp_path / "run").exists()


def test_the_settings_of_every_stage_survive_their_manifest(tmp_path: Path) -> None:
    settings = RunSettings(input=tmp_path / "log.jsonl", folder=tmp_path)
    for step in steps(settings, lambda _: None):
        _record(tmp_path, step)
        assert stale_because(tmp_path, step) == ""
