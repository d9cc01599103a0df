"""Each rung on its own, each failure with its code."""

import pytest

from journeyman.evaluate.records.scores import EvaluationTask, Item, ScoredItem, decode_rate
from journeyman.evaluate.scoring.extract_code import extract
from journeyman.evaluate.scoring.ladder import score_finished, score_item, score_served
from journeyman.evaluate.scoring.well_formed import requested_names, score_form
from journeyman.records import Answer, Check, Message
from journeyman.sandbox.check_result import CheckResult
from journeyman.sandbox.checks import run_check
from tests.sandboxes import sandbox

CODE = "```python\ndef double(x):\n    return 2 * x\n```\n"
PROSE = "This is a whole answer that ends where it should, in plain words.\n"
CHECK = Check("doctest", ">>> double(2)\n4\n", 1, entry_point="double")


def task(prompt: str = "Double a number.", agent: str = "coder", *checks: Check) -> EvaluationTask:
    return EvaluationTask("t", "c", agent, None, (Message("user", prompt),), tuple(checks))


def code_of(rung: str, item: ScoredItem) -> str:
    return next(s.code for s in item.scores if s.rung == rung)


def form_code(text: str, agent: str = "coder", prompt: str = "Double a number.") -> str:
    return score_form(task(prompt, agent), text, extract(text)).code


def passing(code: str, check: Check) -> CheckResult:
    return CheckResult(check.n, check.n)


def test_an_error_passes_no_rung_and_says_why() -> None:
    item = Item("tuned", "t", Answer("", "error", error="connection lost"))
    found = score_item(item, task("x", "coder", CHECK), passing)
    assert [(s.rung, s.passed, s.code) for s in found.scores] == [
        ("S0", False, "error"),
        ("S1", False, "not_served"),
        ("S2", False, "not_served"),
        ("S3", False, "no_answer"),
        ("S4", False, "no_answer"),
    ]
    assert found.scores[0].detail == "connection lost"


def test_an_empty_answer_is_not_served() -> None:
    assert score_served(Answer(" \n", "stop")).code == "empty"


@pytest.mark.parametrize(
    ("text", "finish", "code"),
    [
        (PROSE, "stop", ""),
        (CODE, "stop", ""),
        ("def f(): return 1", "stop", ""),
        (PROSE, "length", "limit"),
        ("<think>\nhm", "stop", "open_think"),
        ("<think>\nhm\n</think>\n", "stop", "no_answer"),
        (PROSE + "```python\nx = 1\n", "stop", "open_fence"),
        ("one two three four five six seven eight " * 8, "stop", "repetition"),
        (PROSE + "\ufffd", "stop", "unclean_text"),
        ("Sure.", "stop", "too_short"),
    ],
)
def test_finished_means_the_end_was_reached(text: str, finish: str, code: str) -> None:
    answer = Answer(text, "length" if finish == "length" else "stop")
    assert score_finished(answer, extract(text)).code == code


def test_seven_equal_lines_are_no_loop_until_eight_words_repeat_more_than_six_times() -> None:
    line = "a b c d e f g h "
    assert score_finished(Answer(line * 6 + PROSE, "stop"), extract(PROSE)).passed
    assert not score_finished(Answer(line * 7 + PROSE, "stop"), extract(PROSE)).passed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (CODE, ""),
        (PROSE, "no_code"),
        ("```python\ndef f(:\n```", "syntax"),
        ("```python\nprint(1)\n```", "no_definition"),
        ("```python\ndef f():\n    pass\ndef g():\n    ...\n```", "stub"),
        ('```python\ndef f():\n    """Later."""\n    raise NotImplementedError\n```', "stub"),
        ("<think>\n" + CODE, "no_answer"),
        ("```typescript\nlet x = 1\n```", "no_code"),
        ("```python\ndef f(x):\n    return frobnicate(x)\n```", "undefined_name"),
        ("```python\ndef f(x):\n    nonlocal y\n```", "syntax"),
    ],
)
def test_a_coder_must_give_code_that_is_not_a_stub(text: str, code: str) -> None:
    assert form_code(text) == code


def test_an_interface_is_not_a_stub() -> None:
    text = (
        "from typing import Protocol\nclass Store(Protocol):\n    def get(self): ...\n"
        "    def put(self): ...\n"
    )
    assert not form_code(f"```python\n{text}```")


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("Complete:\n\ndef first_true(xs, default=None):\n    ...", {"first_true"}),
        ("Write the function `peek(it)` for me.", {"peek"}),
        ("class Bag:\n  holds things", {"Bag"}),
        ("Document all class invariants of IStore", set()),
        ("Write a function to calculate fibonacci numbers", set()),
    ],
)
def test_names_are_asked_for_by_a_signature(prompt: str, names: set[str]) -> None:
    assert requested_names(task(prompt)) == names


def test_a_coder_defines_the_names_asked_for() -> None:
    assert form_code(CODE, prompt="Write the function `triple`.") == "name_missing"
    assert not form_code(CODE, prompt="Write the function `double`.")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\ndef test_one():\n    assert 1 == 1\n```", ""),
        (
            "```python\nclass T(TestCase):\n  def test_a(self):\n    self.assertEqual(1, 1)\n```",
            "",
        ),
        ("```python\ndef test_one():\n    with pytest.raises(E):\n        f()\n```", ""),
        ("```python\ndef test_one():\n    f()\n```", "no_assert"),
        ("```python\ndef check():\n    assert 1\n```", "no_test"),
        (PROSE, "no_code"),
    ],
)
def test_a_tester_gives_a_test_that_states_something(text: str, code: str) -> None:
    assert form_code(text, "tester") == code


def test_other_agents_are_judged_by_form_only_and_it_says_so() -> None:
    found = score_form(task(agent="researcher"), "1. a\n2. b\n3. c\n", extract(""))
    assert found.passed
    assert "form only" in found.detail
    assert form_code(PROSE, "researcher") == "form"


def test_without_a_sandbox_checks_are_unmeasured_and_not_failed() -> None:
    found = score_item(Item("tuned", "t", Answer(CODE, "stop")), task("x", "coder", CHECK), None)
    assert found.passed("S4") is None
    assert code_of("S4", found) == "not_executed"


def test_a_check_that_fails_gives_its_reason() -> None:
    def failing(code: str, check: Check) -> CheckResult:
        return CheckResult(1, 2, "mismatch", "expected 4, got 5")

    found = score_item(Item("tuned", "t", Answer(CODE, "stop")), task("x", "coder", CHECK), failing)
    assert code_of("S4", found) == "mismatch"
    assert found.scores[-1].detail == "1 of 2 ran: expected 4, got 5"


def test_every_check_must_pass() -> None:
    second = Check("doctest", ">>> double(0)\n1\n", 1, entry_point="double")

    def run(code: str, check: Check) -> CheckResult:
        return CheckResult(1, 1, "" if check is CHECK else "mismatch")

    item = Item("tuned", "t", Answer(CODE, "stop"))
    assert score_item(item, task("x", "coder", CHECK), run).passed("S4")
    assert not score_item(item, task("x", "coder", CHECK, second), run).passed("S4")


def test_a_cut_off_answer_may_still_pass_its_checks() -> None:
    item = Item("tuned", "t", Answer(CODE + "And now", "length"))
    found = score_item(item, task("x", "coder", CHECK), passing)
    assert (found.passed("S1"), found.passed("S4")) == (False, True)


def test_the_decode_rate_leaves_the_first_token_out() -> None:
    # 21 tokens in 3 s, the first after 1 s: 20 tokens in 2 s.
    assert decode_rate(Answer("x", "stop", 3.0, 1.0, 5, 21)) == 10.0
    assert decode_rate(Answer("x", "stop", 3.0)) is None


def test_code_may_run_although_its_check_fails() -> None:
    def only_loads(code: str, check: Check) -> CheckResult:
        return CheckResult(1, 1, "mismatch" if check is CHECK else "")

    found = score_item(
        Item("tuned", "t", Answer(CODE, "stop")), task("x", "coder", CHECK), only_loads
    )
    assert [(s.rung, s.passed) for s in found.scores[-2:]] == [("S3", True), ("S4", False)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("import no_such_module\n", "import"),
        ("raise ValueError(3)\n", "error"),
        ("import sys\nsys.exit(0)\n", "exit"),
        ("def f(:\n", "syntax"),
    ],
)
def test_code_that_does_not_run_says_why(body: str, code: str) -> None:
    item = Item("tuned", "t", Answer(f"```python\n{body}```\n", "stop"))
    found = score_item(item, task(), lambda code, check: run_check(sandbox(), code, check))
    assert code_of("S3", found) == code


def test_prose_is_not_asked_to_run() -> None:
    found = score_item(Item("tuned", "t", Answer(PROSE, "stop")), task("x", "reviewer"), passing)
    assert [s.rung for s in found.scores] == ["S0", "S1", "S2"]
