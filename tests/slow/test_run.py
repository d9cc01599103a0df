"""The whole pipeline on a small model and the real llama.cpp: from a log to a verdict."""

import json
from pathlib import Path

import msgspec
import pytest

from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.events import Event, StageStarted
from journeyman.pipeline import run
from journeyman.settings import RunSettings
from tests.small_models import small_model

pytestmark = pytest.mark.slow

STAGES = ("prepare", "train", "convert", "evaluate")


def write_log(path: Path, rows: int) -> Path:
    lines = [
        {
            "task": {"description": f"Write a function that adds {number} to its argument."},
            "agent": {"role": "coder"},
            "execution": {"output": f"```python\ndef add(x):\n    return x + {number}\n```"},
        }
        for number in range(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    folder = tmp_path_factory.mktemp("run")
    base = small_model(folder / "base", "llama")
    log = write_log(folder / "log.jsonl", 30)
    return RunSettings(
        input=log, folder=folder / "run", base=str(base), epochs=1, max_tokens=8, limit=2
    )


@pytest.fixture(scope="module")
def first(settings: RunSettings) -> Path:
    return run(settings)


def skipped(settings: RunSettings) -> set[str]:
    """The stages that a run skipped."""
    events: list[Event] = []
    run(settings, events.append)
    starts = [event for event in events if isinstance(event, StageStarted)]
    return {event.name for event in starts if "skipped" in event.detail}


def test_a_run_ends_with_a_gguf_a_page_and_a_verdict(first: Path) -> None:
    assert (first / "model.gguf").read_bytes()[:4] == b"GGUF"
    assert "<html" in (first / "evaluation.html").read_text(encoding="utf-8")
    result = msgspec.json.decode((first / "evaluation.json").read_bytes(), type=Evaluation)
    assert result.verdict.label in {"DEPLOY", "ITERATE", "ABORT", "INVALID"}
    assert {stage.stem for stage in (first / "stages").iterdir()} == set(STAGES)


def test_a_second_run_skips_everything(settings: RunSettings, first: Path) -> None:
    assert skipped(settings) == set(STAGES)


def test_a_lost_gguf_is_made_again_from_the_same_adapter(
    settings: RunSettings, first: Path
) -> None:
    (first / "model.gguf").unlink()
    assert skipped(settings) == {"prepare", "train", "evaluate"}


def test_a_longer_log_is_trained_anew_and_the_old_adapter_kept(
    settings: RunSettings, first: Path
) -> None:
    write_log(settings.input, 40)
    assert skipped(settings) == set()
    assert (first / "replaced" / "train-1" / "adapter" / "final_model").is_dir()
