"""A report is made again from what it stores: a true one holds, a tampered one is INVALID."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from journeyman.cli import run
from journeyman.errors import IntegrityError
from journeyman.evaluate.stage import evaluate
from journeyman.evaluate.verify.read_report import read_report
from journeyman.evaluate.verify.verify import verify
from journeyman.settings import EvaluateSettings, VerifySettings
from tests.evaluations import as_schema_2, engines, rows, settings_in

pytestmark = pytest.mark.usefixtures("quiet_machine")

Report = dict[str, Any]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """The result file of an evaluation of eight tasks."""
    settings = settings_in(tmp_path, rows(8), suites="held-out", sandbox="none")
    evaluate(settings, open_engine=engines())
    return settings.output


def test_a_report_follows_from_what_it_stores(report: Path) -> None:
    found = verify(report)
    assert found.differences == ()
    assert found.notes == ()
    assert found.label == "ITERATE"


def test_a_report_that_asked_no_model_follows_from_its_gates(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, rows(4), train=rows(2))
    evaluate(settings, open_engine=engines())
    found = verify(settings.output)
    assert (found.label, found.differences, found.notes) == ("INVALID", (), ())


def label(report: Report) -> None:
    report["verdict"]["label"] = "DEPLOY"


def rate(report: Report) -> None:
    report["arms"][1]["rungs"][1]["rate"]["k"] = 7


def answer(report: Report) -> None:
    report["items"][-1]["item"]["answer"]["text"] = "I do not know."


def score(report: Report) -> None:
    report["items"][0]["scores"][1]["passed"] = False


def latency(report: Report) -> None:
    report["items"][0]["item"]["answer"]["latency_s"] = 0.1


def error_as_quick(report: Report) -> None:
    report["items"][0]["item"]["answer"] |= {"finish": "error", "text": "", "latency_s": 0.0}


def dropped(report: Report) -> None:
    report["items"].pop()


def twice(report: Report) -> None:
    report["items"].append(report["items"][0])


def target(report: Report) -> None:
    report["plan"]["targets"]["success"] = 0.5


def first_look(report: Report) -> None:
    report["plan"]["alpha"] = 0.2


def model(report: Report) -> None:
    report["arms"][1]["arm"]["sha256"] = "0" * 64


def prompt(report: Report) -> None:
    report["tasks"][0]["messages"][-1]["content"] = "Something easier."


def memory(report: Report) -> None:
    report["arms"][1]["peak_memory_bytes"] = 1


def warm(report: Report) -> None:
    report["timings"][0]["item"]["answer"]["latency_s"] = 0.5


@pytest.mark.parametrize(
    "tamper",
    [
        *(label, rate, answer, score, latency, error_as_quick, dropped, twice, target, first_look),
        *(model, prompt, memory, warm),
    ],
)
def test_a_tampered_report_is_invalid(report: Path, tamper: Callable[[Report], None]) -> None:
    content = json.loads(report.read_bytes())
    tamper(content)
    report.write_text(json.dumps(content))
    found = verify(report)
    assert found.label == "INVALID"
    assert found.differences


def test_an_answer_without_code_cannot_have_passed_a_check(report: Path) -> None:
    content = json.loads(report.read_bytes())
    scored = content["items"][0]
    scored["item"]["answer"]["text"] = (
        "No code at all, but a sentence that is long enough to count."
    )
    scored["scores"] += [{"rung": "S4", "passed": True, "code": "", "detail": ""}]
    report.write_text(json.dumps(content))
    wheres = {one.where for one in verify(report).differences}
    assert any("scores" in where for where in wheres)


def test_another_file_than_was_measured_is_not_shipped(report: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"other")
    found = verify(report, VerifySettings(model=other))
    assert found.label == "INVALID"
    assert "other.gguf" in found.differences[0].where


def test_a_plan_that_was_changed_afterwards_is_noticed(report: Path) -> None:
    plan = report.with_suffix(".plan.json")
    plan.write_text(plan.read_text().replace("0.98", "0.5"))
    assert [one.where for one in verify(report).differences] == ["plan in evaluation.plan.json"]


def test_a_leak_that_the_report_hides_is_found(report: Path) -> None:
    data = report.parent.parent / "data"
    (data / "train.jsonl").write_bytes((data / "test.jsonl").read_bytes())
    found = verify(report)
    assert found.label == "INVALID"
    assert any(one.where.startswith("leak") for one in found.differences)


def test_what_cannot_be_compared_is_said(report: Path) -> None:
    folder = report.parent.parent
    (folder / "tuned.gguf").unlink()
    (folder / "data" / "train.jsonl").unlink()
    found = verify(report)
    assert found.differences == ()
    assert len(found.notes) == 2


def test_a_file_that_is_not_a_report_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("{}")
    with pytest.raises(IntegrityError, match="not an evaluation"):
        verify(path)


@pytest.fixture
def before(report: Path) -> Path:
    """The same result file, as the schema before held it."""
    content = json.loads(report.read_bytes())
    as_schema_2(content)
    for suite in content["suites"]:
        suite["not_measured"] = "for a reason in other words"
    report.write_text(json.dumps(content))
    return report


def test_a_report_of_the_schema_before_is_refused_with_the_next_step(before: Path) -> None:
    with pytest.raises(IntegrityError, match="evaluation/2") as caught:
        verify(before)
    assert "--rescore" in caught.value.hint


def test_a_report_of_the_schema_before_verifies_once_its_answers_are_scored_again(
    before: Path,
) -> None:
    answers = [one.item for one in read_report(before).items]
    again = evaluate(EvaluateSettings(output=before, rescore=True, sandbox="none"))
    assert [one.item for one in again.items] == answers
    assert verify(before).differences == ()


@pytest.mark.parametrize("content", [{"schema": "evaluation/1"}, {"schema": "evaluation/2"}])
def test_a_report_that_cannot_be_read_is_an_error_that_says_what_to_do(
    tmp_path: Path, content: Report
) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content | {"items": ["not an item"]}))
    with pytest.raises(IntegrityError) as caught:
        verify(path)
    assert "evaluate again" in caught.value.hint


def test_the_exit_code_is_that_of_the_verdict(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(report)]) == 10
    assert capsys.readouterr().out.strip() == "ITERATE"
    report.write_text(report.read_text().replace("ITERATE", "DEPLOY"))
    assert run(["verify", str(report)]) == 12
    assert "DEPLOY" in capsys.readouterr().err
