"""`benchmarks/own_step.py`: each recipe of the benchmarks in its own process, a line for a step."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.small_models import VARIANT_VOCABULARY, small_variant

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "own_step.py"
ROW = [(7 * place) % VARIANT_VOCABULARY for place in range(24)]
STEP = json.dumps(
    {"ids": [ROW, ROW[5:]], "trained": [[0] * 8 + [1] * 16, [0] * 8 + [1] * (len(ROW) - 13)]}
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_variant(tmp_path_factory.mktemp("base"), "llama").folder


def run_worker(model: Path, recipe: str, *lines: str) -> subprocess.CompletedProcess[str]:
    words = ["--model", str(model), "--recipe", recipe, "--threads", "1", "--no-compiled"]
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        input="".join(line + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
    )


def answers(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def fast(model: Path) -> list[dict[str, Any]]:
    return answers(run_worker(model, "fast fp32", STEP, STEP))


def test_a_worker_answers_every_line_with_the_same_loss(fast: list[dict[str, Any]]) -> None:
    ready, first, second = fast
    assert ready == {"ready": True, "freed_memory_kept": True}
    assert first["loss"] == second["loss"] > 0
    assert first["seconds"] > 0
    assert 0 < first["peak_rss_bytes"] <= second["peak_rss_bytes"]


def test_the_hf_engine_keeps_no_memory_and_has_the_same_loss(
    model: Path, fast: list[dict[str, Any]]
) -> None:
    ready, slow = answers(run_worker(model, "hf fp32", STEP))
    assert ready == {"ready": True, "freed_memory_kept": False}
    # Dropout differs, but an adapter starts at zero.
    assert slow["loss"] == pytest.approx(fast[1]["loss"], rel=1e-4)


def test_an_unknown_recipe_ends_with_an_error_line(model: Path) -> None:
    done = run_worker(model, "fast fp64", STEP)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: argument --recipe: invalid choice: 'fast fp64'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_model_that_cannot_be_trained_ends_with_an_error_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    done = run_worker(tmp_path, "fast fp32", STEP)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: `--engine fast` cannot train this model")
    assert "Traceback" not in done.stderr
