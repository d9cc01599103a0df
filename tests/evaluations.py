"""Whole evaluations of small files by scripted engines, for the tests of what follows from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from journeyman.evaluate.records.evaluation import Arm
from journeyman.records import Answer, Example
from journeyman.runs import write_manifest
from journeyman.settings import EvaluateSettings
from tests.scripted_engine import ScriptedEngine, by_arm, row, said, write_dataset

RIGHT = "```python\ndef double(x):\n    return 2 * x\n```\n"
WRONG = "```python\ndef double(x):\n    return x ** 2\n```\n"


def rows(count: int, *, checks: int = 0) -> list[Example]:
    """Coder tasks that differ in their number."""
    return [row(f"Task number {n}: `double`.", RIGHT, checks=checks) for n in range(count)]


def settings_in(
    folder: Path, test: Sequence[Example], train: Sequence[Example] = (), **changes: object
) -> EvaluateSettings:
    """Two GGUF files of a few bytes with their manifests, and a dataset."""
    test_data = write_dataset(folder / "data", test, train)
    for name in ("tuned", "base"):
        (folder / f"{name}.gguf").write_bytes(name.encode())
        facts = {"quantization": "Q4_K_M"}
        write_manifest(folder, stage="convert", settings={}, inputs={}, outputs={}, facts=facts,
                       name=f"{name}.gguf.manifest.json")  # fmt: skip
    values = {
        "model": folder / "tuned.gguf",
        "base": str(folder / "base.gguf"),
        "test_data": test_data,
        "output": folder / "results" / "evaluation.json",
    }
    return EvaluateSettings(**(values | changes))  # type: ignore[arg-type]


def engines(
    tuned: Callable[[str], Answer] = lambda _: said(RIGHT),
    base: Callable[[str], Answer] = lambda _: said(WRONG),
) -> Callable[[Arm], ScriptedEngine]:
    """Engines that answer by script."""
    return by_arm(ScriptedEngine(base), ScriptedEngine(tuned))


def as_schema_2(report: dict[str, Any]) -> None:
    """The report as the schema before held it: answers beside their scores, not in an item."""
    report["schema"] = "evaluation/2"
    for holder, name in ((report, "items"), (report, "timings")):
        holder[name] = [one.pop("item") | one for one in holder[name]]
    for suite in report["suites"]:
        suite["items"] = [one.pop("item") | one for one in suite["items"]]
