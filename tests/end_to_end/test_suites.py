"""The suites beside the held-out split, asked of scripted engines: rates, pairs, reasons, files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from journeyman.errors import Interrupted, UsageError
from journeyman.evaluate.records.evaluation import Arm, Evaluation
from journeyman.evaluate.records.scores import ScoredItem
from journeyman.evaluate.stage import evaluate
from journeyman.evaluate.suites.probes import probes
from journeyman.evaluate.verify.verify import verify
from journeyman.files import write_json
from journeyman.records import Answer, Message, Tool
from journeyman.settings import EvaluateSettings
from tests.end_to_end.test_evaluate import settings_in
from tests.sandboxes import sandbox
from tests.scripted_engine import Script, ScriptedEngine, row, said, write_dataset

GOOD = {probe.prompt: probe.good for probe in probes()}
ALL = "held-out,humaneval,probes,likelihood,quantisation"


class JudgingEngine(ScriptedEngine):
    """Also says how likely an answer is: each of its words costs what its arm's words cost."""

    def __init__(
        self, script: Script, nats: float, asked: list[str], *, stop_after: int | None = None
    ) -> None:
        super().__init__(script, asked, stop_after=stop_after)
        self.nats = nats

    def answer_nats(
        self, messages: Sequence[Message], *, limit: int, tools: Sequence[Tool] = ()
    ) -> list[float]:
        assert self.open
        assert messages[-1].role == "assistant"
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(f"nats of {messages[-2].content}")
        return [self.nats for _ in messages[-1].content.split()][:limit]


def obedient(prompt: str) -> Answer:
    return said(GOOD.get(prompt, "An answer of some length that says nothing at all."))


def disobedient(prompt: str) -> Answer:
    return said("?")


def opener(asked: list[str], *, stop_after: int | None = None) -> Callable[[Arm], JudgingEngine]:
    def open_engine(arm: Arm) -> JudgingEngine:
        if arm.id == "base":
            return JudgingEngine(disobedient, 2.0, asked, stop_after=stop_after)
        return JudgingEngine(obedient, 1.5, asked, stop_after=stop_after)

    return open_engine


def suite_settings(folder: Path, **changes: object) -> EvaluateSettings:
    return settings_in(folder, **({"suites": ALL, "limit_humaneval": 3} | changes))


def scores_of(result: Evaluation) -> list[object]:
    """Every answer with its scores; what the machine did meanwhile differs each time."""
    every = [*result.items, *(one for suite in result.suites for one in suite.items)]
    return [(one.item.arm, one.item.task, one.item.answer, one.scores) for one in every]


def test_every_suite_has_its_numbers_or_the_reason_why_not(tmp_path: Path) -> None:
    settings = suite_settings(tmp_path)
    result = evaluate(settings, open_engine=opener([]))
    assert [suite.name for suite in result.suites] == [
        "humaneval", "probes", "likelihood", "quantisation",
    ]  # fmt: skip
    kept = result.suite("probes")
    assert kept is not None
    (pair,) = kept.paired
    assert (pair.rung, pair.fixed, pair.broken, pair.n) == ("S4", len(GOOD), 0, len(GOOD))
    rung = next(r for r in kept.arms[1].rungs if r.id == "S4" and r.agent == "json")
    assert rung.rate is not None
    assert rung.rate.k == rung.rate.n == 5
    missing = result.suite("quantisation")
    assert missing is not None
    assert "no F16 file beside it" in missing.not_measured
    written = msgspec.json.decode(settings.output.read_bytes(), type=Evaluation)
    assert written == result


def test_likelihood_is_paired_row_by_row(tmp_path: Path) -> None:
    found = evaluate(suite_settings(tmp_path), open_engine=opener([])).suite("likelihood")
    assert found is not None
    assert found.likelihood is not None
    assert (found.n, len(found.likelihood.rows)) == (6, 6)
    assert found.likelihood.difference.mean == pytest.approx(-0.5)
    assert (found.likelihood.base.mean, found.likelihood.tuned.mean) == (2.0, 1.5)


def test_an_engine_without_probabilities_leaves_the_likelihood_unmeasured(tmp_path: Path) -> None:
    settings = suite_settings(tmp_path, suites="likelihood")
    found = evaluate(settings, open_engine=lambda _: ScriptedEngine(obedient)).suite("likelihood")
    assert found is not None
    assert "gives no probabilities" in found.not_measured


def test_a_suite_that_is_not_asked_for_says_so_and_what_it_would_take(tmp_path: Path) -> None:
    result = evaluate(suite_settings(tmp_path, suites="held-out"), open_engine=opener([]))
    reasons = {suite.name: suite.not_measured for suite in result.suites}
    assert set(reasons) == {"humaneval", "probes", "likelihood", "quantisation"}
    # 2 x 164 answers of 2 s each.
    assert "about 11 min" in reasons["humaneval"]
    assert "--suites held-out,probes" in reasons["probes"]


def test_humaneval_without_a_sandbox_claims_nothing_of_right_answers(tmp_path: Path) -> None:
    found = evaluate(suite_settings(tmp_path), open_engine=opener([])).suite("humaneval")
    assert found is not None
    assert (found.n, found.arms[0].recorded, found.arms[1].recorded) == (3, 3, 3)
    assert {r.id: r.rate is None for r in found.arms[1].rungs} == {
        "S0": False, "S1": False, "S2": False, "S3": True, "S4": True,
    }  # fmt: skip


@pytest.mark.parametrize("stop_after", [15, 60, 112])
def test_a_stop_in_any_suite_goes_on_by_item(tmp_path: Path, stop_after: int) -> None:
    every: list[str] = []
    asked: list[str] = []
    whole = evaluate(suite_settings(tmp_path / "a"), open_engine=opener(every))
    settings = suite_settings(tmp_path / "b")
    with pytest.raises(Interrupted):
        evaluate(settings, open_engine=opener(asked, stop_after=stop_after))
    result = evaluate(settings, open_engine=opener(asked))
    assert sorted(asked) == sorted(every)
    assert scores_of(result) == scores_of(whole)
    assert result.suite("likelihood") == whole.suite("likelihood")


def test_an_unknown_suite_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not know `mmlu`"):
        evaluate(suite_settings(tmp_path, suites="mmlu"), open_engine=opener([]))


def never(arm: Arm) -> JudgingEngine:
    raise AssertionError(arm)


def test_a_result_is_scored_again_without_any_model(tmp_path: Path) -> None:
    settings = suite_settings(tmp_path)
    first = evaluate(settings, open_engine=opener([]))
    again = evaluate(replace(settings, rescore=True), open_engine=never)
    assert again == first
    assert verify(settings.output).differences == ()


def test_scoring_again_takes_up_what_was_mended(tmp_path: Path) -> None:
    settings = suite_settings(tmp_path, suites="held-out", max_tokens=9)
    first = evaluate(settings, open_engine=opener([]))
    ended = [replace_item(item, "length") for item in first.items]
    write_json(settings.output, msgspec.structs.replace(first, items=tuple(ended)))
    again = evaluate(replace(settings, rescore=True), open_engine=never)
    finished = {arm.arm.id: next(r for r in arm.rungs if r.id == "S1") for arm in again.arms}
    assert finished["tuned"].codes == {"limit": 6}
    assert again.plan == first.plan


def replace_item(scored: ScoredItem, finish: Literal["length"]) -> ScoredItem:
    answer = msgspec.structs.replace(scored.item.answer, finish=finish)
    item = msgspec.structs.replace(scored.item, answer=answer)
    return msgspec.structs.replace(scored, item=item)


def test_a_result_without_answers_cannot_be_scored_again(tmp_path: Path) -> None:
    settings = suite_settings(tmp_path, rescore=True)
    with pytest.raises(UsageError, match="is not a file"):
        evaluate(settings, open_engine=never)


def test_excluded_tasks_verify(tmp_path: Path) -> None:
    sandbox()
    settings = suite_settings(tmp_path, suites="held-out", sandbox="strict")
    rows = [row(f"Task number {n}: `double`.", "```python\ndef double(x):\n    return x * 2\n```",
                checks=1) for n in range(2)]  # fmt: skip
    rows.append(row("Task number 3: `double`.", "I do not know.", checks=1))
    write_dataset(tmp_path / "data", rows)
    found = evaluate(settings, open_engine=opener([]))
    assert [one.canary for one in found.excluded] == ["reference fails"]
    rung = next(r for r in found.arms[1].rungs if r.id == "S4")
    assert rung.rate is not None
    assert rung.rate.n == 2
    assert verify(settings.output).differences == ()
