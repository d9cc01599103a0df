"""What only the whole set shows: contradictions, repeats, unsent prompts, wrong roles."""

import pytest

from journeyman.prepare.rules.answers import (
    RULES,
    AnswerStatistics,
    answer_key,
    differs_from_sent,
    role_by_words,
)
from journeyman.records import Interaction, Message


def _row(line: int, task: str, answer: str | None, agent: str = "coder") -> Interaction:
    return Interaction(str(line), line, task, agent, answer, "success", producer="p")


def _whole(*rows: tuple[str, str | None]) -> AnswerStatistics:
    whole = AnswerStatistics()
    for line, (group, answer) in enumerate(rows, start=1):
        whole.add(line, group, answer_key(answer), "p")
    return whole


def test_the_same_prompt_with_different_answers_is_a_contradiction() -> None:
    whole = _whole(("a", "yes"), ("b", "x"), ("a", "no"))
    (group,) = whole.duplicates()
    assert (group.lines, group.answers) == ((1, 3), 2)


def test_the_same_answer_again_or_none_contradicts_nothing() -> None:
    whole = _whole(("a", "Yes, do."), ("a", "yes  do"), ("a", None), ("b", "x"))
    assert [(group.lines, group.answers) for group in whole.duplicates()] == [((1, 2, 3), 1)]


def test_one_answer_to_three_different_prompts_is_repeated() -> None:
    whole = _whole(("a", "Tell me more."), ("b", "Tell me more."), ("c", "Tell me more."))
    (repeated,) = whole.repeated()
    assert repeated.lines == (1, 2, 3)
    assert repeated.answer == answer_key("tell me more")


def test_one_answer_three_times_to_one_prompt_is_a_duplicate_only() -> None:
    assert _whole(("a", "x"), ("a", "x"), ("a", "x"), ("b", "x")).repeated() == []


def test_a_prompt_that_was_not_sent_names_the_turns() -> None:
    system, user = Message("system", "Be brief."), Message("user", "Task: sort")
    row = Interaction("a", 1, "sort", "coder", "x", "success", sent=(system, user))
    assert differs_from_sent(row, (system, user)) == ()
    assert differs_from_sent(row, (system, Message("user", "sort"))) == ("user",)
    assert differs_from_sent(row, (user,)) == ("system",)


def test_a_log_without_sent_messages_says_nothing() -> None:
    assert differs_from_sent(_row(1, "sort", "x"), (Message("user", "sort"),)) is None


@pytest.mark.parametrize(
    ("task", "role"),
    [
        ("Implement a binary search", "coder"),
        ("Test the login form for edge cases", "tester"),
        ("Review this module for code smells", "reviewer"),
        ("Research caching strategies and compare them", "researcher"),
        ("Plan a two-week sprint", "coordinator"),
        ("Hello there", None),
    ],
)
def test_the_words_of_a_task_show_its_role(task: str, role: str | None) -> None:
    assert role_by_words(task) == role


def _hits(agent: str, task: str, answer: str) -> list[str]:
    return [rule.id for rule in RULES if rule.find(_row(1, task, answer, agent)) is not None]


def test_a_testers_row_without_a_test_is_a_finding() -> None:
    assert _hits("tester", "Implement a parser", "x = 1") == [
        "role-mismatch",
        "tester-without-test",
    ]
    assert _hits("tester", "Test the parser", "It works.") == []
    assert _hits("tester", "Greet", "def test_greeting():\n    assert greet()") == []


def test_a_role_without_words_of_its_own_is_left_alone() -> None:
    assert _hits("librarian", "Implement a parser", "x") == []
