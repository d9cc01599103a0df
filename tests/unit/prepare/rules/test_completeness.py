"""`completeness`: what is there, in an answer made by hand and in the real log."""

from collections import Counter

import msgspec
import pytest

from journeyman.data.interactions import read_interactions
from journeyman.data.markdown import has_open_fence
from journeyman.prepare.rules.completeness import RULES, ends_well
from journeyman.records import Interaction
from tests.logs import REAL_LOG, needs_real_log

ROW = Interaction(id="a", line=1, task="t", agent="coder", answer="Done.", status="success")


def rules(**changes: object) -> set[str]:
    return found_in(msgspec.structs.replace(ROW, **changes))


def found_in(row: Interaction) -> set[str]:
    return {rule.id for rule in RULES if rule.find(row) is not None}


def test_a_whole_answer_has_no_finding() -> None:
    assert rules() == set()


@pytest.mark.parametrize("answer", [None, "", " \n"])
def test_an_answer_without_text_is_empty(answer: str | None) -> None:
    assert rules(answer=answer) == {"empty"}


@pytest.mark.parametrize("changes", [{"producer": "mock"}, {"answer": "Mock response."}])
def test_a_mock_is_known_by_its_provider_or_text(changes: dict[str, object]) -> None:
    assert rules(**changes) == {"mock"}


def test_a_failed_call_is_failed() -> None:
    assert rules(status="failure") == {"failed"}


def test_a_closed_think_is_a_finding_and_an_open_one_two_more() -> None:
    assert rules(answer="<think>Hm.</think> Done.") == {"think"}
    assert rules(answer="<think>Hm.") == {"think", "think-unclosed", "cut-off"}


@pytest.mark.parametrize("reason", ["length", "max_tokens", "client_abort"])
def test_a_reason_for_an_early_end_is_a_cut_off(reason: str) -> None:
    assert rules(finish_reason=reason) == {"cut-off"}


def test_a_reason_for_a_good_end_is_believed_before_the_text() -> None:
    assert rules(answer="def f():", finish_reason="stop") == set()
    assert rules(answer="def f():", finish_reason="unheard-of") == {"cut-off"}


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1",
        "```\na\n```\n```\nb",
        "1. ~~~\n   x",
        "````\n```\nx\n```",
        "```\nx\n```python",
    ],
)
def test_a_fence_that_is_not_closed_is_open(text: str) -> None:
    assert has_open_fence(text)


@pytest.mark.parametrize(
    "text", ["```python\nx = 1\n```", "no fence", "inline ```code``` here", "````\n```\n````"]
)
def test_a_fence_that_is_closed_is_not_open(text: str) -> None:
    assert not has_open_fence(text)


@pytest.mark.parametrize(
    "text",
    [
        "Done.",
        "Is it?",
        "**Done!**",
        'He said "yes."',
        "(See above.)",
        "\u5b8c\u4e86\u3002",
        "```\nx\n```",
        "def f(x):\n    return x",
        "import os\nx = 1",
    ],
)
def test_a_sentence_a_fence_or_whole_python_ends_well(text: str) -> None:
    assert ends_well(text)


@pytest.mark.parametrize(
    "text", ["and then the", "Here is an example:", "Hello", "def f(x):", "| a | b |", "x = 1 +"]
)
def test_anything_else_does_not_end_well(text: str) -> None:
    assert not ends_well(text)


@pytest.mark.parametrize(
    "text",
    [
        "It takes a list (see the first one.",
        "Use these: [one, two.",
        "Done.\n\nIt is (among others {a, b}) small.\n(And this.",
        "```python\nprint(sum([1, 2])\n```",
        '```json\n{"a": ")"\n```',
        "```js\nf(() => {  // )}\n  g()\n```",
    ],
)
def test_a_bracket_that_is_open_at_the_end_is_a_cut_off(text: str) -> None:
    (rule,) = (rule for rule in RULES if rule.id == "cut-off")
    assert rule.find(msgspec.structs.replace(ROW, answer=text)) == "open bracket"


@pytest.mark.parametrize(
    "text",
    [
        "It takes a list (see the first one).",
        "Choose b) or 2) of them.",
        "So x is in [0, 1) here.",
        "I am sorry :-( about that.",
        "Type `f(` or '(' to begin.",
        "An escaped \\( is none.",
        "(An early note.\n\nAll is said.",
        "```python\nprint(1\n```\n\nThat was wrong.",
        '```python\nx = "("  # ((\n```',
        "```sh\ncase $1 in (a) echo ${#b[@]}; esac; f() {\n```",
        "```\n(\n```",
        "import re\nX = ':( ['",
    ],
)
def test_brackets_that_close_or_mean_something_else_are_no_cut_off(text: str) -> None:
    assert rules(answer=text) == set()


@needs_real_log
def test_the_real_log_has_the_counts_that_are_known() -> None:
    """Known: 64 open fences, 134 without an end (133 cut ones and the mock), 86 `<think>`.

    Two more are seen to be cut because their `<think>` never ends: 200, of which 199 are right
    among 204 that the token counts show.
    """
    rows = [row for row in read_interactions(REAL_LOG) if isinstance(row, Interaction)]
    found = Counter(rule for row in rows for rule in found_in(row))
    answers = [row.answer for row in rows if row.answer]
    assert found == {
        "cut-off": 200, "think": 86, "think-unclosed": 64, "failed": 4, "empty": 4, "mock": 1,
    }  # fmt: skip
    assert sum(map(has_open_fence, answers)) == 64
    assert sum(not has_open_fence(text) and not ends_well(text) for text in answers) == 134
