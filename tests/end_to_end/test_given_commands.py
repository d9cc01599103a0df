"""The commands of the user's README, word for word, on a small base model and a short log.

Only the base model is replaced, by `JOURNEYMAN_TRAIN_BASE` and `JOURNEYMAN_PREPARE_BASE`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_models import small_model
from tests.waiting import HANG_S

ROOT = Path(__file__).parents[2]
ADAPTER = Path("training/models/qwen2.5-coder-7b-lora")
ROWS = 40


def interaction(number: int) -> dict[str, object]:
    return {
        "task": {"description": f"Write a function that adds {number} to its argument."},
        "agent": {"role": "coder"},
        "execution": {"output": f"```python\ndef add(x):\n    return x + {number}\n```"},
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project: the README's folders, a log, and the environment in `venv/`."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "training").mkdir()
    (folder / "training" / "scripts").symlink_to(ROOT / "training" / "scripts")
    (folder / "training" / "configs").symlink_to(ROOT / "training" / "configs")
    (folder / "venv").symlink_to(sys.prefix)
    small_model(folder / "base")
    log = folder / "data" / "training" / "interactions_20260101.jsonl"
    log.parent.mkdir(parents=True)
    lines = "".join(json.dumps(interaction(number)) + "\n" for number in range(ROWS))
    log.write_text(lines, encoding="utf-8")
    return folder


def shell(project: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run one command line of the README in the user's project."""
    environment = {
        # A user has none, and it would come before the packages of either Python.
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "JOURNEYMAN_PREPARE_BASE": str(project / "base"),
        "JOURNEYMAN_TRAIN_BASE": str(project / "base"),
        "JOURNEYMAN_TRAIN_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run(
        ["bash", "-c", command],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )


@pytest.fixture(scope="module")
def prepared(project: Path) -> Path:
    python = (
        Path(sys.base_prefix) / "bin" / "python3"
    )  # has no journeyman: the script restarts in venv/
    done = shell(project, f"{python} training/scripts/prepare_training_data.py")
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture(scope="module")
def trained(prepared: Path) -> Path:
    done = shell(prepared, "venv/bin/python3 training/scripts/train_lora.py")
    assert done.returncode == 0, done.stderr
    return prepared


def test_prepare_reads_the_newest_log_and_writes_four_files(prepared: Path) -> None:
    data = prepared / "training" / "data"
    counts = [
        len((data / f"{x}.jsonl").read_bytes().splitlines()) for x in ("train", "val", "test")
    ]
    assert counts == [32, 4, 4]
    metadata = json.loads((data / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["total_interactions"] == ROWS
    assert metadata["splits"] == {"train": 32, "val": 4, "test": 4}
    assert metadata["random_seed"] == 42


def test_train_writes_the_files_that_the_readme_names(trained: Path) -> None:
    done = shell(trained, f"ls -lh {ADAPTER}/checkpoint-*/ {ADAPTER}/logs/events.out.tfevents.*")
    assert done.returncode == 0, done.stderr
    assert "adapter_model.safetensors" in done.stdout
    config = json.loads((trained / ADAPTER / "training_config.json").read_text(encoding="utf-8"))
    assert "qwen2.5-coder-7b-lora" in json.dumps(config)


def test_batch_size_one_keeps_sixteen_rows_a_step(trained: Path) -> None:
    command = "training/scripts/train_lora.py --batch-size 1 --max-steps 1 --output-dir out-1"
    done = shell(trained, f"venv/bin/python3 {command}")
    assert done.returncode == 0, done.stderr
    config = json.loads((trained / "out-1" / "training_config.json").read_text(encoding="utf-8"))
    assert '"accumulation": 16' in json.dumps(config)


def test_epochs_batch_size_and_output_dir_are_used(trained: Path) -> None:
    name = "training/models/qwen2.5-coder-7b-lora-v2"
    flags = f"--epochs 5 --batch-size 4 --output-dir {name} --lr 1e-4"
    done = shell(trained, f"venv/bin/python3 training/scripts/train_lora.py {flags}")
    assert done.returncode == 0, done.stderr
    steps = [path.name for path in (trained / name).glob("checkpoint-*")]
    assert "checkpoint-10" in steps  # 32 rows in steps of 16, five times


def test_a_run_under_nohup_can_be_followed_in_its_log(trained: Path) -> None:
    command = (
        "mkdir -p training/logs && "
        "nohup venv/bin/python3 training/scripts/train_lora.py --epochs 1 --output-dir out-nohup "
        "> training/logs/training_$(date +%Y%m%d_%H%M%S).log 2>&1 & wait $! && "
        "cat training/logs/training_*.log"
    )
    done = shell(trained, command)
    assert done.returncode == 0, done.stderr
    assert "loss" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.slow
def test_convert_writes_the_named_gguf(trained: Path) -> None:
    command = (
        f"venv/bin/python3 training/scripts/convert_to_gguf.py --model {ADAPTER}/final_model "
        "--output models/qwen2.5-coder-7b-lora.gguf --quantize Q8_0"
    )
    done = shell(trained, command)
    assert done.returncode == 0, done.stderr
    assert (trained / "models" / "qwen2.5-coder-7b-lora.gguf").read_bytes()[:4] == b"GGUF"


def test_evaluate_writes_the_named_result(trained: Path) -> None:
    command = (
        f"venv/bin/python3 training/scripts/evaluate_lora.py --model {ADAPTER}/final_model "
        "--test-data training/data/test.jsonl --output results/lora_evaluation.json "
        "--max-tokens 8"
    )
    done = shell(trained, command)
    assert done.returncode == 0, done.stderr
    assert (trained / "results" / "lora_evaluation.json").is_file()


def test_without_an_environment_the_script_says_what_to_run(tmp_path: Path) -> None:
    scripts = tmp_path / "training" / "scripts"
    scripts.mkdir(parents=True)
    for source in (ROOT / "training" / "scripts").glob("*.py"):
        (scripts / source.name).write_bytes(source.read_bytes())
    python = Path(sys.base_prefix) / "bin" / "python3"
    done = shell(tmp_path, f"{python} training/scripts/prepare_training_data.py")
    assert done.returncode == 4
    assert "make setup" in done.stderr.splitlines()[1]
    assert "Traceback" not in done.stderr
