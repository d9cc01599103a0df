"""HumanEval as tasks: asked in a chat, checked by its own tests, proved by its own solutions."""

import pytest

from journeyman.errors import UsageError
from journeyman.evaluate.measuring.check_trust import excluded_tasks, try_checks
from journeyman.evaluate.suites.humaneval import humaneval_suite
from journeyman.events import ignore
from journeyman.sandbox.checks import run_check
from tests.sandboxes import sandbox


def test_all_tasks_are_there_and_each_is_asked_as_a_chat() -> None:
    suite = humaneval_suite(None, seed=1)
    assert suite is not None
    assert len(suite.tasks) == len({task.id for task in suite.tasks}) == 164
    task = suite.tasks[0]
    assert [turn.role for turn in task.messages] == ["system", "user"]
    assert "def has_close_elements" in task.prompt
    assert task.checks[0].setup == "from typing import List"


def test_helpers_that_the_prompt_gives_are_there_for_the_check() -> None:
    suite = humaneval_suite(None, seed=1)
    assert suite is not None
    setup = next(t.checks[0].setup for t in suite.tasks if t.entry_point == "find_zero")
    assert "def poly" in setup
    assert "find_zero" not in setup


def test_fewer_tasks_are_the_same_ones_for_the_same_seed() -> None:
    one, same, other = (humaneval_suite(20, seed) for seed in (1, 1, 2))
    assert one is not None
    assert other is not None
    assert one == same
    assert len(one.tasks) == 20
    assert one.tasks != other.tasks
    assert "20 of 164" in one.note
    with pytest.raises(UsageError, match="leaves no tasks"):
        humaneval_suite(0, seed=1)


def test_its_solutions_pass_and_their_stubs_fail() -> None:
    suite = humaneval_suite(4, seed=3)
    assert suite is not None
    found = try_checks(suite.tasks, lambda c, check: run_check(sandbox(), c, check), ignore)
    assert len(found) == 4
    assert excluded_tasks(found) == ()
