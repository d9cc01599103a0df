"""The instruction probes accept good answers and refuse bad ones."""

import pytest

from journeyman.evaluate.records.scores import Item
from journeyman.evaluate.suites.probe_rules import KINDS, ProbeRule, broken_rule
from journeyman.evaluate.suites.probes import Probe, probe_tasks, probes, score_probe
from journeyman.records import Answer


@pytest.mark.parametrize("probe", probes(), ids=lambda probe: probe.id)
def test_each_probe_takes_its_good_answer_and_refuses_its_bad_one(probe: Probe) -> None:
    assert broken_rule(probe.rules, probe.good) is None
    assert broken_rule(probe.rules, probe.bad) is not None
    assert broken_rule(probe.rules, "") is not None


def test_there_are_about_forty_and_each_has_its_own_id() -> None:
    found = probes()
    assert 40 <= len(found) <= 50
    assert len({probe.id for probe in found}) == len({probe.prompt for probe in found})
    assert len(found) == len({probe.id for probe in found})
    assert probe_tasks()[1] == ()


def test_every_kind_of_rule_is_used_by_a_probe() -> None:
    assert {rule.kind for probe in probes() for rule in probe.rules} == set(KINDS)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer("YES", "stop"), ""),
        (Answer("<think>\nhm\n</think>\nYES", "stop"), ""),
        (Answer("<think>\nYES", "stop"), "no_answer"),
        (Answer("YES", "length"), "limit"),
        (Answer("", "error", error="gone"), "not_served"),
        (Answer("Certainly: YES", "stop"), "one_of"),
    ],
)
def test_an_answer_to_a_probe_fails_with_its_reason(answer: Answer, code: str) -> None:
    task = next(task for task in probe_tasks()[0] if task.rule == "yes-no")
    found = score_probe(Item("tuned", task.id, answer), task)
    assert [score.code for score in found.scores if score.rung == "S4"] == [code]


@pytest.mark.parametrize(
    ("rule", "text", "holds"),
    [
        (ProbeRule("language", text="de"), "Das ist ein Satz und nicht mehr.", True),
        (ProbeRule("language", text="de"), "This is a sentence.", False),
        (ProbeRule("language", text="en"), "xyzzy", False),
        (ProbeRule("json_list", text="number", least=1), "[true]", False),
        (ProbeRule("json_keys", texts=("a",)), '{"a": 1, "b": 2}', False),
        (ProbeRule("parses"), "def f(:", False),
        (ProbeRule("words", least=2, most=2), "don't panic", True),
        (ProbeRule("lower_case"), "123", False),
    ],
)
def test_rules_judge_the_text_alone(rule: ProbeRule, text: str, holds: bool) -> None:
    assert (broken_rule((rule,), text) is None) is holds
