"""Logs of interactions made by hand, and the real one where it is at hand."""

import copy
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.needs import this_machine

REAL_LOG = Path(__file__).parents[2] / "shared" / "data" / "interactions_20251001.jsonl"
needs_real_log = pytest.mark.skipif(
    not REAL_LOG.is_file(), reason=this_machine("does not have the real log")
)

_ROW: dict[str, Any] = {
    "task": {"description": "Write a function that adds two numbers."},
    "agent": {"role": "coder"},
    "execution": {"output": "It adds them."},
}


def log_row(**changes: object) -> dict[str, Any]:
    """One row of the user's format; `execution__status="x"` sets a nested key."""
    row = copy.deepcopy(_ROW)
    for path, value in changes.items():
        *places, name = path.split("__")
        target = row
        for place in places:
            target = target.setdefault(place, {})
        target[name] = value
    return row


def task_rows(count: int, **changes: object) -> list[dict[str, Any]]:
    """Rows with as many different tasks."""
    return [
        log_row(**{"task__description": f"Write function {number}.", **changes})
        for number in range(count)
    ]


def write_log(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """The rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines_of(path: Path) -> Sequence[dict[str, Any]]:
    """The JSON values of a JSONL file, by Python's own reader."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
