"""`journeyman.data.role_prompts` and `groups`: what is asked, and which rows ask the same."""

import pytest

from journeyman.data.prompt_groups import group_of, normalised
from journeyman.data.role_prompts import ROLE_PROMPTS, messages_for
from journeyman.errors import DataRefused
from journeyman.records import Interaction, Message, ToolCall


def asked(task: str = "Add two numbers.", **fields: object) -> Interaction:
    values: dict[str, object] = {
        "id": "a", "line": 1, "task": task, "agent": "coder", "answer": "Yes.", "status": "success",
    }  # fmt: skip
    return Interaction(**{**values, **fields})  # type: ignore[arg-type]


def test_the_coders_prompt_is_that_of_the_readme() -> None:
    system, user, answer = messages_for(asked(), "role")
    start = "You are an expert software engineer specializing in Clean Architecture"
    assert system.content.startswith(start)
    assert user == Message("user", "Add two numbers.")
    assert answer == Message("assistant", "Yes.")


def test_every_agent_of_the_log_has_its_own_prompt() -> None:
    assert list(ROLE_PROMPTS) == ["coder", "tester", "reviewer", "researcher", "coordinator"]
    assert len(set(ROLE_PROMPTS.values())) == 5


def test_an_unknown_agent_gets_no_default_prompt() -> None:
    with pytest.raises(DataRefused, match=r"`\$\.agent\.role` is `janitor`, known .* `coder`"):
        messages_for(asked(agent="janitor"), "role")


def test_logged_prompts_are_those_that_were_sent() -> None:
    sent = (Message("system", "Be kind."), Message("user", "Task: add"))
    assert messages_for(asked(sent=sent, agent="janitor"), "logged") == (
        *sent,
        Message("assistant", "Yes."),
    )


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        ((), "input_messages` is missing"),
        (("system",), "no `user` turn"),
        (("system", "system", "user"), "`system` turn that is not the first"),
        (("user", "assistant"), "ends with an `assistant` turn"),
    ],
)
def test_logged_prompts_that_cannot_be_used_are_refused(
    roles: tuple[str, ...], reason: str
) -> None:
    sent = tuple(Message(role, "x") for role in roles)  # type: ignore[arg-type]
    with pytest.raises(DataRefused, match=reason):
        messages_for(asked(sent=sent), "logged")


CALL = ToolCall("c1", "read", '{"path": "a.py"}')
WITH_A_TOOL = (
    Message("system", "You are an agent."),
    Message("user", "What is in a.py?"),
    Message("assistant", "", tool_calls=(CALL,)),
    Message("tool", "x = 1", tool_call_id="c1", name="read"),
)


def test_earlier_turns_are_kept_and_only_the_system_prompt_is_the_roles() -> None:
    turns = messages_for(asked("What is in a.py?", sent=WITH_A_TOOL), "role")
    assert turns[0] == Message("system", ROLE_PROMPTS["coder"])
    assert turns[1:] == (*WITH_A_TOOL[1:], Message("assistant", "Yes."))


def test_earlier_turns_without_a_system_prompt_get_the_roles() -> None:
    turns = messages_for(asked(sent=WITH_A_TOOL[1:]), "role")
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("answer", [None, "", "I look."])
def test_an_answer_carries_the_tools_that_it_asks_for(answer: str | None) -> None:
    turns = messages_for(asked(answer=answer, tool_calls=(CALL,)), "role")
    assert turns[-1] == Message("assistant", answer or "", tool_calls=(CALL,))


def test_a_talk_that_ends_with_an_answer_already_is_refused_for_every_prompt() -> None:
    sent = (Message("user", "Add."), Message("assistant", "Sure: "))
    with pytest.raises(DataRefused, match="ends with an `assistant` turn"):
        messages_for(asked(sent=sent), "role")


def test_a_prompt_is_the_same_in_other_case_width_spacing_and_punctuation() -> None:
    first = group_of(messages_for(asked("Add two numbers."), "role"))
    again = asked("\uff41\uff44\uff44  two\n Numbers!", agent="tester", answer="No.")
    assert group_of(messages_for(again, "role")) == first


def test_other_words_or_other_signs_alone_are_another_prompt() -> None:
    assert normalised("add one") != normalised("add two")
    assert normalised("+") != normalised("-")


def test_every_turn_but_the_system_and_the_answer_counts_for_the_group() -> None:
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    other = (Message("user", "a"), Message("assistant", "x"), Message("user", "c"))
    assert group_of(turns) != group_of(other)
    assert group_of((Message("system", "s"), *turns)) == group_of(turns)
