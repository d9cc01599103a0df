"""Every suite of a report is made again from what it stores, not the held-out verdict alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from markupsafe import escape
from msgspec.structs import replace

from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.evaluate.records.scores import Score
from journeyman.evaluate.records.suites import CheckTrust
from journeyman.evaluate.report.page import page
from journeyman.evaluate.stage import evaluate
from journeyman.evaluate.suites.quantisation import divergence_suite, parse_report
from journeyman.evaluate.verdict.conclude import conclude
from journeyman.evaluate.verify.read_report import read_report
from journeyman.evaluate.verify.recompute import findings_of
from journeyman.evaluate.verify.verify import verify
from journeyman.files import write_json, write_text
from journeyman.settings import EvaluateSettings
from tests.end_to_end.test_suites import opener, suite_settings
from tests.evaluations import as_schema_2
from tests.unit.evaluate.suites.test_quantisation import REPORT

Report = dict[str, Any]
Tamper = Callable[[Report], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A report with every suite measured, and its bytes.

    What the sandbox and llama-perplexity would have said is set in, and all the rest follows.
    """
    settings = suite_settings(tmp_path_factory.mktemp("suites"))
    stored = evaluate(settings, open_engine=opener([]))
    tuned = stored.arm("tuned")
    assert tuned is not None
    measured = divergence_suite(parse_report(REPORT, tuned.arm, "ab" * 32))
    suites = tuple(measured if s.name == "quantisation" else s for s in stored.suites)
    result = conclude(replace(findings_of(stored), suites=suites))
    write_text(settings.output.with_suffix(".html"), page(result))
    write_json(settings.output, result)
    return settings.output, settings.output.read_bytes()


def suite(report: Report, name: str) -> Report:
    found: Report = next(one for one in report["suites"] if one["name"] == name)
    return found


def test_a_report_with_every_suite_follows_from_what_it_stores(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    path.write_bytes(content)
    found = verify(path)
    assert (found.differences, found.notes) == ((), ())


def probe_answer(report: Report) -> None:
    suite(report, "probes")["items"][-1]["item"]["answer"]["text"] = "Whatever."


def probe_score(report: Report) -> None:
    suite(report, "probes")["items"][0]["scores"][1]["passed"] = True


def probe_left_out(report: Report) -> None:
    suite(report, "probes")["items"].pop()


def probe_twice(report: Report) -> None:
    items = suite(report, "probes")["items"]
    items.append(items[0])


def probe_pair(report: Report) -> None:
    suite(report, "probes")["paired"][0]["fixed"] += 1


def easier_probe(report: Report) -> None:
    suite(report, "probes")["tasks"][0]["messages"][-1]["content"] = "Say anything."


def weaker_check(report: Report) -> None:
    suite(report, "humaneval")["tasks"][0]["checks"][0]["source"] = "assert True"


def executed_without_a_sandbox(report: Report) -> None:
    for item in suite(report, "humaneval")["items"]:
        for score in item["scores"]:
            score |= {"passed": True, "code": "", "detail": ""}


def other_rungs(report: Report) -> None:
    suite(report, "humaneval")["arms"][1]["rungs"][0]["rate"]["k"] = 0


def hidden(report: Report) -> None:
    found = suite(report, "humaneval")
    found |= {"not_measured": "no time", "arms": [], "items": [], "tasks": [], "paired": []}


def likelier_row(report: Report) -> None:
    suite(report, "likelihood")["likelihood"]["rows"][0]["tuned"] = 0.1


def likelier_mean(report: Report) -> None:
    suite(report, "likelihood")["likelihood"]["difference"]["mean"] = -0.9


def row_left_out(report: Report) -> None:
    suite(report, "likelihood")["likelihood"]["rows"].pop()


def smaller_divergence(report: Report) -> None:
    suite(report, "quantisation")["divergence"]["mean_kl"] = 0.001


def wider_limit(report: Report) -> None:
    suite(report, "quantisation")["divergence"]["limit_kl"] = 0.5


def other_claims(report: Report) -> None:
    report["verdict"]["claims"] = report["verdict"]["claims"][:-1]


def better_sandbox(report: Report) -> None:
    report["environment"]["sandbox"] = "strict"


def easier_rows(report: Report) -> None:
    report["tasks"][0]["reference"] = "Another answer."


def log_figures(report: Report) -> None:
    report["baseline"]["n_latency"] = 302


VALUES: dict[Tamper, str] = {
    probe_answer: "suites[1].items[",
    probe_score: "suites[1].items[0].scores[1].passed",
    probe_pair: "suites[1].paired[0].fixed",
    easier_probe: "suites[1].tasks[0].messages[1].content",
    weaker_check: "suites[0].tasks[0].checks[0].source",
    executed_without_a_sandbox: "suites[0].items[0].scores[4].passed",
    other_rungs: "suites[0].arms[1].rungs[0].rate.k",
    likelier_row: "suites[2].likelihood.tuned.mean",
    likelier_mean: "suites[2].likelihood.difference.mean",
    smaller_divergence: "suites[3].divergence.mean_kl",
    wider_limit: "suites[3].divergence.limit_kl",
    other_claims: "verdict.claims",
    easier_rows: "tasks[0].reference",
    log_figures: "baseline.n_latency",
}
PARTS: dict[Tamper, str] = {
    probe_left_out: "suites[1].arms[1].recorded",
    probe_twice: "probes items",
    hidden: "suites[0].not_measured",
    row_left_out: "suites[2].note",
    better_sandbox: "environment.sandbox",
}


@pytest.mark.parametrize("tampers", [VALUES, PARTS])
def test_each_thing_that_was_tampered_with_is_named(
    whole: tuple[Path, bytes], tampers: dict[Tamper, str]
) -> None:
    path, content = whole
    report = json.loads(content)
    for tamper in tampers:
        tamper(report)
    path.write_text(json.dumps(report))
    found = verify(path)
    assert found.label == "INVALID"
    wheres = [one.where for one in found.differences]
    missed = [t for t, where in tampers.items() if not any(w.startswith(where) for w in wheres)]
    assert missed == []


def test_a_suite_that_was_planned_cannot_be_left_out(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    report = json.loads(content)
    report["suites"] = report["suites"][1:]
    path.write_text(json.dumps(report))
    assert "suites" in [one.where for one in verify(path).differences]


def test_the_page_shows_every_answer_of_every_suite(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    shown = path.with_suffix(".html").read_text()
    report = json.loads(content)
    items = [one for s in (report, *report["suites"]) for one in s["items"]]
    assert shown.count("<details") == len(items) / 2
    assert all(escape(one["item"]["answer"]["text"]) in shown for one in items)


def test_a_report_of_the_schema_before_is_read_whole(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    path.write_bytes(content)
    now = read_report(path)
    assert now.timings
    assert all(suite.items for suite in now.suites if suite.name in ("humaneval", "probes"))
    before = json.loads(content)
    as_schema_2(before)
    path.write_text(json.dumps(before))
    assert replace(read_report(path), schema=now.schema) == now


def test_an_earlier_report_verifies_once_its_answers_are_scored_again(
    whole: tuple[Path, bytes],
) -> None:
    path, content = whole
    report, beside = json.loads(content), path.with_suffix(".html")
    as_schema_2(report)
    report["baseline"]["text"] = "in other words"
    for one in report["suites"]:
        one |= {"title": "in other words", "note": one["note"] and "in other words"}
    path.write_text(json.dumps(report))
    shown = beside.read_bytes()
    evaluate(EvaluateSettings(output=path, rescore=True, sandbox="none"))
    found = verify(path)
    beside.write_bytes(shown)
    assert (found.differences, found.notes) == ((), ())


def test_a_page_that_says_something_else_is_noticed(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    path.write_bytes(content)
    beside = path.with_suffix(".html")
    shown = beside.read_text()
    beside.write_text(shown.replace("ITERATE", "DEPLOY"))
    wheres = [one.where for one in verify(path).differences]
    beside.write_text(shown)
    assert wheres == ["page evaluation.html"]


RIGHT = Score("S4", passed=True)


def test_trials_of_checks_that_contradict_themselves_are_noticed(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    stored = msgspec.json.decode(content, type=Evaluation)
    found = stored.suite("humaneval")
    assert found is not None
    one, other, _ = (task.id for task in found.tasks)
    tried = (
        CheckTrust(one, Score("S4", passed=False, code="assert")),
        CheckTrust(other, RIGHT, "reference fails"),
        CheckTrust("unknown", RIGHT, mutants=5, refused=3),
    )
    suites = tuple(
        replace(s, canaries=tried) if s.name == "humaneval" else s for s in stored.suites
    )
    write_json(path, replace(stored, suites=suites))
    said = "\n".join(f"{d.where} {d.stored} {d.found}" for d in verify(path).differences)
    wanted = (
        *("trusted assert", "reference fails it passes", "3 of 5 mutants refused"),
        *("tasks tried", "no sandbox to try them in"),
    )
    assert [one for one in wanted if one not in said] == []
