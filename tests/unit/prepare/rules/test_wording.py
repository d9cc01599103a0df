"""Answers that are none, by their wording."""

import pytest

from journeyman.prepare.rules.wording import RULES
from journeyman.records import Interaction


def _matching(answer: str) -> set[str]:
    row = Interaction("a", 1, "Write a parser", "coder", answer, "success")
    return {rule.id for rule in RULES if rule.find(row) is not None}


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot fulfil this request.",
        "As an AI language model, I cannot write this code.",
        "Unfortunately, I am unable to assist with that task.",
        "<think>Is this allowed?</think>\nI won't help you with it.",
    ],
)
def test_a_refusal_is_noticed(answer: str) -> None:
    assert "refusal" in _matching(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "The parser raises ValueError when I cannot help it.",
        "I'm sorry for the long answer. Here is the code:\n```python\nx = 1\n```",
        "Sure. I can help: call `parse`. Note that I can't create threads here.",
        "I can't stress enough how useful tests are.",
    ],
)
def test_a_word_of_regret_is_not_a_refusal(answer: str) -> None:
    assert "refusal" not in _matching(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Could you please provide the code that needs work?",
        "To start, can you tell me a bit more about the project?",
        "Please share more details about your grammar.",
    ],
)
def test_a_question_instead_of_an_answer_is_noticed(answer: str) -> None:
    assert "question-back" in _matching(answer)


def test_a_question_beside_code_or_inside_thinking_is_courtesy() -> None:
    code = "```python\nx = 1\n```\nCould you provide feedback?"
    assert "question-back" not in _matching(code)
    assert "question-back" not in _matching("<think>can you tell the type?</think>\nIt is an int.")
    assert "question-back" not in _matching("Which parser is best? The one with tests.")


@pytest.mark.parametrize(
    "line",
    ["# TODO: parse", "// implement the logic here", "# Your code here", "/* FIXME */", "# ..."],
)
def test_code_left_to_the_reader_is_noticed(line: str) -> None:
    assert "left-open" in _matching(f"```\n{line}\n```")


@pytest.mark.parametrize("line", ["# the list of TODO items", "x = here", "# code above is slow"])
def test_an_ordinary_comment_leaves_nothing_open(line: str) -> None:
    assert "left-open" not in _matching(f"```python\n{line}\n```")


def test_a_set_opener_is_counted_behind_thinking_too() -> None:
    assert "opener" in _matching("<think>hm</think>\nSure, I can help you with that.")
    assert "opener" not in _matching("Surely this works.")
