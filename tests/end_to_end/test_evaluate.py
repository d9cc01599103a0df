"""A whole evaluation with scripted engines: plan, answers, scores, verdict, files, resumption."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from journeyman.errors import DataRefused, Interrupted, MachineError, UsageError
from journeyman.evaluate.asking.answers import open_record
from journeyman.evaluate.records.evaluation import Arm, Evaluation
from journeyman.evaluate.records.scores import ScoredItem
from journeyman.evaluate.report.terminal import baseline_table, rung_table, verdict_lines
from journeyman.evaluate.stage import evaluate
from journeyman.events import Caution, Event, Table, ignore
from journeyman.files import write_json
from journeyman.records import Answer
from journeyman.runs import write_manifest
from journeyman.settings import EvaluateSettings
from tests.sandboxes import sandbox
from tests.scripted_engine import ScriptedEngine, by_arm, row, said, write_dataset

RIGHT = "```python\ndef double(x):\n    return 2 * x\n```\n"
WRONG = "```python\ndef double(x):\n    return x ** 2\n```\n"
N = 6

pytestmark = pytest.mark.usefixtures("quiet_machine")


def settings_in(folder: Path, **changes: object) -> EvaluateSettings:
    """Two GGUF files of a few bytes, and a test split of six coder tasks."""
    test = write_dataset(folder / "data", [row(f"Task number {n}: `double`.") for n in range(N)])
    (folder / "tuned.gguf").write_bytes(b"tuned")
    (folder / "base.gguf").write_bytes(b"base")
    for name in ("tuned", "base"):
        facts = {"quantization": "Q4_K_M"}
        write_manifest(folder, stage="convert", settings={}, inputs={}, outputs={}, facts=facts,
                       name=f"{name}.gguf.manifest.json")  # fmt: skip
    values = {
        "model": folder / "tuned.gguf",
        "base": str(folder / "base.gguf"),
        "test_data": test,
        "output": folder / "results" / "evaluation.json",
        "suites": "held-out",
        # Proving a sandbox takes a second: only the tests that need one do.
        "sandbox": "none",
    }
    return EvaluateSettings(**(values | changes))  # type: ignore[arg-type]


def engines(tuned: str = RIGHT, base: str = WRONG) -> Callable[[Arm], ScriptedEngine]:
    return by_arm(ScriptedEngine(lambda _: said(base)), ScriptedEngine(lambda _: said(tuned)))


def answers(scored: ScoredItem) -> tuple[object, ...]:
    """An item without what differs from run to run: how long the engine took to load."""
    item = scored.item
    return (item.arm, item.task, item.answer, scored.scores, scored.code)


def test_a_result_and_a_page_are_written_and_read_back(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    result = evaluate(settings, open_engine=engines())
    written = msgspec.json.decode(settings.output.read_bytes(), type=Evaluation)
    assert written == result
    assert written.schema == "evaluation/3"
    assert [arm.arm.id for arm in written.arms] == ["base", "tuned"]
    assert len(written.items) == 2 * N
    assert settings.output.with_suffix(".html").is_file()
    assert not settings.output.with_suffix(".items.jsonl").exists()


def test_six_finished_answers_are_not_enough_to_deploy(tmp_path: Path) -> None:
    result = evaluate(settings_in(tmp_path), open_engine=engines())
    states = {criterion.id: criterion.state for criterion in result.verdict.criteria}
    assert states["success"] == "INCONCLUSIVE"
    assert (states["latency"], states["memory"]) == ("PASS", "PASS")
    assert result.verdict.label == "ITERATE"
    assert "keep the base model" in result.verdict.headline


def test_contamination_is_a_verdict_and_asks_no_model(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    leaked = [row(f"task number {n} double!") for n in range(4)]
    write_dataset(tmp_path / "data", [row(f"Task number {n}: `double`.") for n in range(N)], leaked)

    def never(arm: Arm) -> ScriptedEngine:
        raise AssertionError(arm)

    result = evaluate(settings, open_engine=never)
    assert result.verdict.label == "INVALID"
    assert "4 of 6" in result.verdict.reasons[0]
    assert msgspec.json.decode(settings.output.read_bytes(), type=Evaluation) == result


def test_a_stopped_evaluation_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    asked: list[str] = []
    base = ScriptedEngine(lambda _: said(WRONG), asked)
    stopping = ScriptedEngine(lambda _: said(RIGHT), asked, stop_after=N + 2)
    with pytest.raises(Interrupted, match="stopped"):
        evaluate(settings, open_engine=by_arm(base, stopping))
    assert not settings.output.exists()
    result = evaluate(
        settings, open_engine=by_arm(base, ScriptedEngine(lambda _: said(RIGHT), asked))
    )
    assert len(asked) == 2 * N
    assert [arm.recorded for arm in result.arms] == [N, N]


def test_a_resumed_result_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = evaluate(settings_in(tmp_path / "a"), open_engine=engines())
    settings = settings_in(tmp_path / "b")
    base = ScriptedEngine(lambda _: said(WRONG))
    with pytest.raises(Interrupted):
        evaluate(
            settings, open_engine=by_arm(base, ScriptedEngine(lambda _: said(RIGHT), stop_after=3))
        )
    resumed = evaluate(settings, open_engine=engines())
    assert [answers(item) for item in resumed.items] == [answers(item) for item in whole.items]
    assert resumed.verdict == whole.verdict


def test_a_damaged_line_is_asked_again_and_reported(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    base = ScriptedEngine(lambda _: said(WRONG))
    stopping = ScriptedEngine(lambda _: said(RIGHT), stop_after=0)
    with pytest.raises(Interrupted):
        evaluate(settings, open_engine=by_arm(base, stopping))
    partial = settings.output.with_suffix(".items.jsonl")
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    events: list[Event] = []
    asked: list[str] = []
    base = ScriptedEngine(lambda _: said(WRONG), asked)
    tuned = ScriptedEngine(lambda _: said(RIGHT))
    result = evaluate(settings, events.append, open_engine=by_arm(base, tuned))
    # The base is asked half of the tasks before the tuned model and half of them after it.
    assert len(asked) == N // 2 + 1
    assert [arm.recorded for arm in result.arms] == [N, N]
    assert any(isinstance(e, Caution) and "asked again" in e.text for e in events)


def test_answers_of_another_model_are_not_taken_for_this_one(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    base = ScriptedEngine(lambda _: said(WRONG))
    with pytest.raises(Interrupted):
        evaluate(
            settings, open_engine=by_arm(base, ScriptedEngine(lambda _: said(RIGHT), stop_after=4))
        )
    (tmp_path / "tuned.gguf").write_bytes(b"tuned again")
    tuned = ScriptedEngine(lambda _: said(RIGHT))
    evaluate(settings, open_engine=by_arm(base, tuned))
    assert len(tuned.asked) == N
    assert len(base.asked) == N


def test_two_evaluations_do_not_write_one_record(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    with (
        open_record(path, ignore),
        pytest.raises(MachineError, match="in use"),
        open_record(path, ignore),
    ):
        pass


def test_errors_count_as_failures_with_their_code_and_not_as_time(tmp_path: Path) -> None:
    def script(prompt: str) -> Answer:
        if prompt.startswith("Task number 0"):
            return Answer("", "error", latency_s=0.0, error="out of memory")
        return said(RIGHT)

    tuned = ScriptedEngine(script)
    opener = by_arm(ScriptedEngine(lambda _: said(RIGHT)), tuned)
    result = evaluate(settings_in(tmp_path), open_engine=opener).arms[1]
    served = result.rungs[0]
    assert served.rate is not None
    assert (served.rate.k, served.rate.n, served.codes) == (N - 1, N, {"error": 1})
    assert result.latency.mean is not None
    assert (result.latency.answered, result.latency.mean.mean) == (N - 1, 2.0)


def test_checks_run_in_the_sandbox_and_decide(tmp_path: Path) -> None:
    sandbox()
    settings = settings_in(tmp_path, sandbox="strict")
    rows = [row(f"Task number {n}: `double`.", RIGHT, checks=1) for n in range(N)]
    write_dataset(tmp_path / "data", rows)
    result = evaluate(settings, open_engine=engines(tuned=RIGHT, base=WRONG))
    pair = next(pair for pair in result.paired if pair.rung == "S4")
    assert (pair.fixed, pair.broken, pair.p) == (N, 0, 0.03125)
    assert result.reference is not None
    assert result.reference.rate is not None
    assert result.reference.rate.k == N
    assert {r.id: r.rate.k for r in result.arms[0].rungs if r.rate} == {
        "S0": N, "S1": N, "S2": N, "S3": N, "S4": 0,
    }  # fmt: skip
    assert {c.id: c.state for c in result.verdict.criteria}["gain"] == "PASS"


def test_without_a_sandbox_checks_are_not_run_and_nothing_is_deployed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, sandbox="none")
    write_dataset(
        tmp_path / "data", [row(f"Task {n}: `double`.", RIGHT, checks=1) for n in range(N)]
    )
    result = evaluate(settings, open_engine=engines())
    assert result.environment.sandbox == "none"
    assert next(rung.rate for rung in result.arms[1].rungs if rung.id == "S4") is None
    assert result.verdict.label == "ITERATE"
    assert any("no sandbox" in reason for reason in result.verdict.reasons)


def test_a_model_without_a_base_is_measured_with_a_warning(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, base=None)
    events: list[Event] = []
    result = evaluate(settings, events.append, open_engine=engines())
    assert [arm.arm.id for arm in result.arms] == ["tuned"]
    assert any(isinstance(e, Caution) and "nothing to compare" in e.text for e in events)
    assert {c.id: c.state for c in result.verdict.criteria}["gain"] == "INCONCLUSIVE"


def test_text_that_is_not_unicode_is_kept_as_a_failure(tmp_path: Path) -> None:
    opener = engines(tuned=RIGHT + "\ud800")
    result = evaluate(settings_in(tmp_path), open_engine=opener)
    assert result.arms[1].rungs[1].codes == {"unclean_text": N}


def test_tables_show_every_rung_and_what_was_not_run(tmp_path: Path) -> None:
    events: list[Event] = []
    result = evaluate(settings_in(tmp_path), events.append, open_engine=engines())
    names = [cells[0] for cells in rung_table(result).rows]
    assert names == ["S0 served", "S1 finished", "S2 well-formed", "S3 runs"]
    assert rung_table(result).rows[0][1].startswith("6/6")
    assert rung_table(result).rows[3][1] == "not measured"
    # Rungs, pairs, costs, cold beside warm, other suites, and the system in use.
    assert sum(isinstance(event, Table) for event in events) == 6
    assert verdict_lines(result)[0] == result.verdict.headline


@pytest.mark.parametrize("model", ["missing", "missing.gguf"])
def test_a_model_that_is_not_there_is_a_usage_error(tmp_path: Path, model: str) -> None:
    with pytest.raises(UsageError, match="neither an adapter folder nor a GGUF file"):
        evaluate(settings_in(tmp_path, model=tmp_path / model))


def test_an_empty_test_split_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.test_data.write_text("")
    with pytest.raises(DataRefused, match="no rows"):
        evaluate(settings, open_engine=engines())


def test_the_system_in_use_is_shown_beside_the_tuned_model(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, suites="held-out", sandbox="none")
    facts = {"k": 298, "n": 302, "mean_latency_s": 20.14, "median_latency_s": 10.9}
    write_json(tmp_path / "data" / "metadata.json", {"baseline": facts | {"latency_n": 297}})
    result = evaluate(settings, open_engine=engines())
    cells = {row[0]: row[1:] for row in baseline_table(result).rows}
    assert cells["served (S0)"][0] == "98.7 %"
    assert cells["served (S0)"][1].startswith("298/302")
    assert cells["served (S0)"][2].startswith("6/6")
    assert cells["mean latency"][:2] == ("20.1 s", "20.1 s, 297 calls")
    assert result.baseline is not None
    assert "transport rate (S0), not a rate of right answers" in result.baseline.text
