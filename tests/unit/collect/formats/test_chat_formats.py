"""OpenAI's and Anthropic's formats: sent turns, tools, and why an answer ended."""

import json
from pathlib import Path

import pytest

from journeyman.collect.reading.row_result import SkippedLogRow
from journeyman.files import LineFault
from journeyman.records import Interaction, ToolCall
from tests.log_files import interactions_of, log_file, only_item, reason_of, turns_of

ASKED = {"role": "user", "content": "a"}


def test_each_answer_with_weight_has_all_earlier_turns(
    tmp_path: Path,
) -> None:
    found = interactions_of(log_file("openai-chat.jsonl", tmp_path), "openai-chat")
    second = [one for one in found if one.line == 2]
    assert [one.answer for one in second] == ["Merge sort.", "O(n log n)."]
    assert [one.task for one in second] == ["A good one.", "Its cost?"]
    # The answer with weight 0 was sent later on, so it stays in `sent`.
    assert turns_of(second[0])[1] == ("assistant", "Bogosort.")
    assert len({one.conversation for one in second}) == 1


def test_tool_calls_old_and_new_are_read(tmp_path: Path) -> None:
    found = interactions_of(log_file("openai-chat.jsonl", tmp_path), "openai-chat")
    new, old = found[3], found[4]
    assert new.tool_calls == (ToolCall("call_1", "weather", '{"town": "Oslo"}'),)
    assert (new.answer, new.task) == ("", "How warm is it\nin Oslo?")
    assert turns_of(new)[0] == ("system", "Use the tools.")
    assert old.sent[1].tool_calls == (ToolCall("", "weather", '{"town": "Bergen"}'),)
    assert (old.sent[2].role, old.sent[2].name) == ("tool", "weather")


def test_a_row_with_only_answers_of_weight_0_is_left_out(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, _said("b", weight=0)]}
    item = only_item(tmp_path, "openai-chat", json.dumps(row))
    assert "no assistant turn" in reason_of(item)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"role": "user", "content": 7}, {}], "at `$.messages[0].content`"),
        ([{"role": "robot", "content": "a"}], "unknown role `robot` - at `$.messages[0].role`"),
        ([{"role": "user"}], "missing required field `content` - at `$.messages[0]`"),
        ([{"role": "user", "content": " "}], "the last `user` turn is blank"),
        ([{"role": "user", "content": "a", "tool_calls": [{"name": "x"}]}], "calls tools"),
        ([{"role": "user", "content": [{"type": "text"}]}], "has no text"),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], "turn 2 is a"),
    ],
)
def test_turns_that_cannot_have_been_sent_are_faults(
    turns: list[object], reason: str, tmp_path: Path
) -> None:
    item = only_item(tmp_path, "openai-chat", json.dumps({"messages": [*turns, _said("x")]}))
    assert isinstance(item, LineFault)
    assert reason in item.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([{"type": "image_url", "image_url": {"url": "a"}}], "content of type `image_url`"),
        ("red \x1b[31m", "control character `\\x1b`"),
        ("a" * 3_000_000, "longer than 4 MiB"),
    ],
)
def test_content_that_is_not_text_is_left_out(content: object, reason: str, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": content}, _said("x")]}
    item = only_item(tmp_path, "openai-chat", json.dumps(row))
    assert isinstance(item, SkippedLogRow)
    assert reason in item.reason


def test_a_request_is_found_in_every_common_nesting(tmp_path: Path) -> None:
    path = log_file("chat-completions.jsonl", tmp_path)
    nested, body, flat, texts, *choices, failed = interactions_of(path, "chat-completions")
    assert (nested.finish_reason, nested.duration_s, nested.max_tokens) == ("stop", 0.84, 64)
    assert (nested.producer, nested.source) == ("local/small-1-2026", "chat-completions:local")
    assert (body.finish_reason, body.duration_s, body.conversation) == ("length", 2.5, "s-7")
    # No finish reason was logged, and the answer has as many tokens as the limit: cut off.
    assert (flat.finish_reason, flat.conversation) == ("length", "s-8")
    assert texts.tool_calls == (ToolCall("call_9", "list_files", "{}"),)
    assert [one.answer for one in choices] == ["Only main.py.", "One file: main.py."]
    assert (failed.answer, failed.status, failed.finish_reason) == (None, "failure", None)


def test_calls_of_one_conversation_share_its_name_without_a_session(tmp_path: Path) -> None:
    path = log_file("chat-completions.jsonl", tmp_path)
    asks_for_files = interactions_of(path, "chat-completions")[3:6]
    assert len({one.conversation for one in asks_for_files}) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"response": {"choices": []}}, "missing required field `messages` - at `$.request`"),
        ({"request": {"messages": []}}, "missing required field `choices` - at `$.response`"),
        (
            {"request": {"messages": 1}, "response": {"choices": []}},
            "expected `array`, got `int` - at `$.request.messages`",
        ),
        (
            {"request": {"messages": [ASKED]}, "response": {"body": {"choices": [{"message": 1}]}}},
            "at `$.response.body.choices[0].message`",
        ),
        (
            {"request": {"messages": [ASKED]}, "response": {"choices": []}},
            "the list is empty - at `$.response.choices`",
        ),
    ],
)
def test_a_fault_names_the_whole_path(row: dict[str, object], reason: str, tmp_path: Path) -> None:
    assert reason in reason_of(only_item(tmp_path, "chat-completions", json.dumps(row)))


def test_blocks_become_turns_without_thinking(tmp_path: Path) -> None:
    path = log_file("anthropic-messages.jsonl", tmp_path)
    plain, cut, tools, failed = interactions_of(path, "anthropic-messages")
    assert turns_of(plain)[0] == ("system", "You write Python.\nBe brief.")
    assert (plain.answer, plain.finish_reason, plain.duration_s) == ("sum(items)", "stop", 1.5)
    assert (cut.finish_reason, cut.max_tokens) == ("length", 8)
    assert turns_of(tools)[1:] == [
        ("assistant", "I run them."),
        ("tool", "1 failed"),
        ("user", "Mend it, too."),
    ]
    assert tools.sent[1].tool_calls == (ToolCall("toolu_1", "bash", '{"command":"pytest"}'),)
    assert tools.sent[2].tool_call_id == "toolu_1"
    assert (tools.finish_reason, tools.conversation) == ("tool_calls", "s-1")
    assert failed.status == "failure"


def test_a_picture_in_a_block_leaves_the_call_out(tmp_path: Path) -> None:
    row = {
        "request": {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        "response": {"content": [], "stop_reason": "end_turn"},
    }
    item = only_item(tmp_path, "anthropic-messages", json.dumps(row))
    assert isinstance(item, SkippedLogRow)
    assert "`image`" in item.reason


@pytest.mark.parametrize(
    ("logged", "ours"),
    [("end_turn", "stop"), ("MAX_TOKENS", "length"), ("refusal", "content_filter"), ("odd", "odd")],
)
def test_finish_reasons_become_one_word_each(logged: str, ours: str, tmp_path: Path) -> None:
    row = {
        "request": {"messages": [{"role": "user", "content": "a"}]},
        "response": {"content": [{"type": "text", "text": "b"}], "stop_reason": logged},
    }
    item = only_item(tmp_path, "anthropic-messages", json.dumps(row))
    assert isinstance(item, Interaction)
    assert item.finish_reason == ours


def _said(text: str, **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": text, **more}
