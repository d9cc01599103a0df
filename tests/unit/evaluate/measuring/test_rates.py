"""Rates over the plan, times over the answers, pairs over clusters."""

import pytest
from msgspec.structs import replace

from journeyman.evaluate.measuring.latency import latency
from journeyman.evaluate.measuring.rates import (
    clusters_passing,
    paired_comparison,
    rungs,
    strict_is_lower,
)
from journeyman.evaluate.records.scores import ArmId, EvaluationTask, Item, Score, ScoredItem
from journeyman.formatting import percent
from journeyman.records import Answer, Check, Message
from tests.scripted_engine import said

CHECK = Check("doctest", ">>> 1\n1\n", 1)


def task(name: str, *, cluster: str = "", agent: str = "coder", checks: int = 1) -> EvaluationTask:
    messages = (Message("user", name),)
    return EvaluationTask(name, cluster or name, agent, None, messages, (CHECK,) * checks)


def item(name: str, passed: bool | None, *, arm: ArmId = "tuned") -> ScoredItem:
    scores = (Score("S1", passed), Score("S4", passed, "" if passed else "mismatch"))
    return ScoredItem(Item(arm, name, said("x")), scores)


def rate(found: object) -> tuple[int, int]:
    return (found.k, found.n)  # type: ignore[attr-defined]


def test_the_denominator_is_the_plan_and_not_what_came() -> None:
    tasks = [task("a"), task("b"), task("c")]
    found = {rung.id: rung for rung in rungs(tasks, [item("a", True), item("b", False)])}
    assert rate(found["S4"].rate) == (1, 3)
    assert found["S4"].codes == {"mismatch": 1, "not_recorded": 1}


def test_s4_counts_only_tasks_with_checks() -> None:
    found = {rung.id: rung for rung in rungs([task("a"), task("b", checks=0)], [item("a", True)])}
    assert rate(found["S4"].rate) == (1, 1)


def test_one_unmeasured_score_leaves_the_rung_unmeasured() -> None:
    found = {r.id: r for r in rungs([task("a"), task("b")], [item("a", True), item("b", None)])}
    assert found["S4"].rate is None


def test_form_only_agents_are_named_in_the_note() -> None:
    found = [r for r in rungs([task("a"), task("b", agent="reviewer")], []) if r.id == "S2"]
    assert [(r.agent, bool(r.note)) for r in found] == [
        ("", True),
        ("coder", False),
        ("reviewer", True),
    ]


def test_an_error_has_no_latency() -> None:
    failed = Item("tuned", "b", Answer("", "error", error="x"))
    slow = Item("tuned", "a", said("x", latency_s=9.0))
    found = latency([task("a"), task("b")], [slow, failed], seed=1)
    assert (found.answered, found.planned) == (1, 2)
    assert found.mean is not None
    assert found.mean.mean == 9.0


def test_nothing_answered_has_no_latency() -> None:
    assert latency([task("a")], [], seed=1).mean is None


def test_pairs_count_what_changed_and_name_it() -> None:
    tasks = [task(name) for name in "abcd"]
    base = [item(n, p, arm="base") for n, p in zip("abcd", (True, True, False, False), strict=True)]
    tuned = [item(n, p) for n, p in zip("abcd", (True, False, True, False), strict=True)]
    found = paired_comparison("S4", tasks, [*base, *tuned])
    assert found is not None
    assert (found.both, found.fixed, found.broken, found.neither) == (1, 1, 1, 1)
    assert (found.fixed_tasks, found.broken_tasks) == (("c",), ("b",))
    assert found.p == 1.0


def test_a_cluster_is_one_pair_and_passes_if_all_its_tasks_pass() -> None:
    tasks = [task("a", cluster="x"), task("b", cluster="x"), task("c")]
    scored = [item("a", True), item("b", False), item("c", True)]
    assert clusters_passing("S1", tasks, scored) == (1, 2)


def test_one_arm_makes_no_pairs() -> None:
    assert paired_comparison("S4", [task("a")], [item("a", True)]) is None


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.98, "98 %"), (0.9084, "90.8 %"), (1.0, "100 %"), (0.9996, "99.96 %"), (0.0, "0 %")],
)
def test_a_share_below_one_is_never_shown_as_all(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_rung_of_code_has_the_rate_of_a_strict_reader_beside_it() -> None:
    strictly = replace(item("a", True), strict=True)
    failed = replace(item("b", False), strict=True)
    tasks = [task(name) for name in "abc"]
    found = {r.id: r for r in rungs(tasks, [strictly, failed, item("c", True)])}
    assert rate(found["S4"].rate) == (2, 3)
    assert rate(found["S4"].strict) == (1, 3)
    assert strict_is_lower(found["S4"])
    assert found["S1"].strict is None
    assert not strict_is_lower(found["S1"])
