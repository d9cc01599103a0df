"""`journeyman.cli`: errors that a person understands, and help without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.cli import COMMANDS, run


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["fly"], 'unknown command "fly"'),
        (["train", "--epoch", "3"], "unknown option: --epoch"),
        (["train", "--epochs", "many"], "many"),
        (["train", "--preset", "best"], "best"),
        (["prepare", "--policy", "lax"], "lax"),
        (["collect", "python"], "PACKAGES requires an argument"),
    ],
)
def test_a_wrong_word_is_named_and_ends_with_2(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert part in captured.err
    assert "hint: see `journeyman" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_answers_without_the_heavy_packages(command: str) -> None:
    code = (
        "import sys; from journeyman.cli import run\n"
        "run(sys.argv[1:])\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'scipy', 'matplotlib'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    words = [*command.split(), "--help"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: journeyman" in done.stdout


def test_a_missing_log_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "no such log.jsonl"
    assert run(["prepare", "--input", str(log), "--output-dir", str(tmp_path / "data")]) == 2
    captured = capsys.readouterr()
    assert f"`{log}` is not a file" in captured.err
    assert not (tmp_path / "data").exists()
