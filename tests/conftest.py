"""What tests share: a ledger of looks of their own, and a machine on which nothing else runs."""

import itertools
from pathlib import Path

import pytest

from journeyman.machine.load import ProcessorUsage


@pytest.fixture(autouse=True)
def _own_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test makes another one's look a later one."""
    monkeypatch.setenv("JOURNEYMAN_LOOKS", str(tmp_path / "looks"))


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's counters as they are when only we use the processor."""
    seconds = itertools.count()

    def reading() -> ProcessorUsage:
        now = float(next(seconds))
        return ProcessorUsage(at_s=now, all_s=now, own_s=now)

    monkeypatch.setattr("journeyman.evaluate.asking.answers.processor_usage", reading)
