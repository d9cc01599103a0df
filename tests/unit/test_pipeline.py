"""`journeyman.pipeline`: what is fresh is skipped, what changed is named."""

from pathlib import Path

import msgspec
import pytest

from journeyman.pipeline import Step, _record, stale_because, steps
from journeyman.settings import RunSettings


@pytest.fixture
def done(tmp_path: Path) -> Step:
    """A step that has been carried out and recorded."""
    (tmp_path / "in").write_text("1", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("2", encoding="utf-8")
    step = Step("make", {"n": 3}, (tmp_path / "in",), (tmp_path / "out",), lambda: None)
    _record(tmp_path, step)
    return step


def test_a_step_is_stale_until_it_is_done(tmp_path: Path) -> None:
    step = Step("make", {}, (), (), lambda: None)
    assert stale_because(tmp_path, step) == "not done yet"


def test_an_unchanged_step_is_fresh(tmp_path: Path, done: Step) -> None:
    assert stale_because(tmp_path, done) == ""


def test_a_changed_setting_is_named(tmp_path: Path, done: Step) -> None:
    changed = msgspec.structs.replace(done, settings={"n": 4})
    assert stale_because(tmp_path, changed) == "changed: n"


def test_a_changed_input_makes_it_stale(tmp_path: Path, done: Step) -> None:
    (tmp_path / "in").write_text("2", encoding="utf-8")
    assert stale_because(tmp_path, done) == "its input changed"


@pytest.mark.parametrize("name", ["file", "another"])
def test_a_changed_or_added_output_makes_it_stale(tmp_path: Path, done: Step, name: str) -> None:
    (tmp_path / "out" / name).write_text("other", encoding="utf-8")
    assert stale_because(tmp_path, done) == "its output was changed or removed"


def test_an_output_that_only_exists_is_not_fresh(tmp_path: Path, done: Step) -> None:
    (tmp_path / "stages" / "make.json").unlink()
    assert stale_because(tmp_path, done) == "not done yet"


def test_a_run_with_a_log_collects_nothing(tmp_path: Path) -> None:
    settings = RunSettings(input=tmp_path / "log.jsonl", folder=tmp_path)
    names = [step.name for step in steps(settings, lambda _: None)]
    assert names == ["prepare", "train", "convert", "evaluate"]
    assert steps(RunSettings(folder=tmp_path), lambda _: None)[0].name == "collect"
