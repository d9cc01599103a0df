"""Secrets that only detect-secrets finds; most of it skips where that is not installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

from journeyman.data.dataset import read_examples
from journeyman.errors import MachineError
from journeyman.prepare import workers
from journeyman.prepare.doctor import examine_log
from journeyman.prepare.rules.secrets import find_secrets, redacted
from journeyman.prepare.stage import command_of, prepare
from journeyman.settings import DoctorSettings, PrepareSettings
from tests.logs import log_row, task_rows, write_log
from tests.needs import missing

needs_scanner = pytest.mark.skipif(
    importlib.util.find_spec("detect_secrets") is None,
    reason=missing("detect-secrets", "make setup"),
)
# A kind of key that our own patterns do not know; put together, so that no scanner finds it here.
KEY = "343ea45721923ed956e2b38c31db76aa" + "-us30"
TEXT = f"Connect with {KEY} then."


@needs_scanner
def test_a_key_that_own_patterns_do_not_know_is_found_by_the_scan() -> None:
    assert find_secrets(TEXT) == []
    text, counts = redacted(f"{TEXT}\n{TEXT}", scan=True)
    assert KEY not in text
    assert counts == {"mailchimp-access-key": 2}


@needs_scanner
@pytest.mark.parametrize(
    "text",
    [
        "",
        "The commit is `3f786850e387550fdab836ed7e6dc881de23001b`.",
        "sha = '3f786850e387550fdab836ed7e6dc881de23001b'",
        "data = 'c2VjcmV0IG1lc3NhZ2UgZm9yIG5vYm9keSBhdCBhbGw='",
        "Ask 8.8.8.8 for the name.",
    ],
)
def test_hashes_codes_and_addresses_are_not_secrets(text: str) -> None:
    assert find_secrets(text, scan=True) == []


@needs_scanner
@pytest.mark.parametrize("asked", [True, False])
def test_prepare_redacts_what_the_scan_finds_on_request(asked: bool, tmp_path: Path) -> None:
    rows = [*task_rows(19), log_row(task__description="How?", execution__output=TEXT)]
    log, folder = write_log(tmp_path / "log.jsonl", rows), tmp_path / "data"
    made = prepare(PrepareSettings(input=log, output_dir=folder, detect_secrets=asked))
    paths = [folder / f"{name}.jsonl" for name in ("train", "val", "test")]
    held = [row for path in paths for row in read_examples(path) if KEY in row.text]
    assert len(held) == (not asked)
    assert made.metadata.report.totals.redacted == asked


@needs_scanner
def test_processes_that_share_the_work_scan_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_SMALL", 2)
    log = write_log(tmp_path / "log.jsonl", task_rows(20, execution__output=TEXT))
    settings = PrepareSettings(input=log, output_dir=tmp_path / "data", detect_secrets=True)
    report = prepare(settings).metadata.report
    assert report.totals.redacted == 20


@needs_scanner
def test_the_doctor_shows_the_finding_and_not_the_secret(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", [log_row(execution__output=TEXT)])
    page = tmp_path / "report.html"
    found = examine_log(log, DoctorSettings(report=page, detect_secrets=True))
    assert {rule.id: rule.count for rule in found.rules}["secret"] == 1
    shown = page.read_text(encoding="utf-8")
    assert "mailchimp-access-key" in shown
    assert KEY not in shown


def test_a_missing_scanner_is_named_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "detect_secrets", None)
    log = write_log(tmp_path / "log.jsonl", [log_row()])
    with pytest.raises(MachineError, match="not installed") as error:
        examine_log(log, DoctorSettings(detect_secrets=True))
    assert "journeyman[secrets]" in (error.value.hint or "")


def test_the_command_that_does_it_again_names_the_option(tmp_path: Path) -> None:
    command = command_of(PrepareSettings(detect_secrets=True), tmp_path / "log.jsonl")
    assert command.endswith("log.jsonl --detect-secrets")
