"""OpenTelemetry GenAI spans, in every notation that the conventions have had for turns."""

import json
from pathlib import Path

import pytest

from journeyman.collect.reading.row_result import SkippedLogRow
from journeyman.files import LineFault
from journeyman.records import Interaction, ToolCall
from tests.log_files import interactions_of, items_of, log_file, only_item, reason_of, turns_of


def read(tmp_path: Path) -> list[Interaction]:
    return interactions_of(log_file("otel-genai.jsonl", tmp_path), "otel-genai")


def test_parts_become_turns_without_reasoning(tmp_path: Path) -> None:
    found = read(tmp_path)[0]
    assert turns_of(found) == [
        ("system", "Be brief."),
        ("user", "Which files are there?"),
        ("assistant", ""),
        ("tool", "main.py"),
    ]
    assert found.sent[2].tool_calls == (ToolCall("c1", "list_files", '{"folder":"."}'),)
    assert (found.answer, found.finish_reason, found.max_tokens) == ("Only main.py.", "stop", 64)
    assert (found.producer, found.source) == ("local/small-1-2026", "otel-genai:local")
    assert (found.conversation, found.agent, found.duration_s) == ("s-1", "tester", 1.25)


def test_otlp_with_typed_values_is_read(tmp_path: Path) -> None:
    found = read(tmp_path)[1]
    assert (found.task, found.answer) == ("Explain closures.", "A closure is")
    assert (found.finish_reason, found.max_tokens, found.duration_s) == ("length", 8, 2.0)


def test_one_event_a_turn_is_read(tmp_path: Path) -> None:
    found = read(tmp_path)[2]
    assert turns_of(found) == [("system", "Be brief."), ("user", "List the files.")]
    assert found.tool_calls == (ToolCall("c2", "list_files", "{}"),)
    assert found.finish_reason == "tool_calls"


def test_numbered_attributes_are_read_with_their_calls(tmp_path: Path) -> None:
    found = read(tmp_path)[3]
    assert found.sent[1].tool_calls == (ToolCall("c3", "list_files", "{}"),)
    assert (found.sent[2].role, found.sent[2].tool_call_id) == ("tool", "c3")
    assert (found.answer, found.finish_reason) == ("a.py", "stop")


def test_numbers_and_not_the_alphabet_give_the_order(tmp_path: Path) -> None:
    turns = {f"gen_ai.prompt.{n}.{k}": v for n in range(12) for k, v in _turn(n).items()}
    span = {"attributes": {**turns, "gen_ai.completion.0.content": "x"}}
    item = only_item(tmp_path, "otel-genai", json.dumps(span))
    assert isinstance(item, Interaction)
    assert [turn.content for turn in item.sent] == [str(n) for n in range(12)]


def test_the_event_with_all_details_is_read(tmp_path: Path) -> None:
    details = {
        "gen_ai.input.messages": [{"role": "user", "parts": [_part("Hi.")]}],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [_part("Ho.")]}],
    }
    span = {
        "attributes": {"gen_ai.operation.name": "chat"},
        "events": [{"name": "gen_ai.client.inference.operation.details", "attributes": details}],
    }
    item = only_item(tmp_path, "otel-genai", json.dumps(span))
    assert isinstance(item, Interaction)
    assert (item.task, item.answer) == ("Hi.", "Ho.")


def test_json_in_an_events_content_is_read(tmp_path: Path) -> None:
    user = json.dumps({"content": "Hi."})
    choice = json.dumps({"message": {"content": "Ho."}, "finish_reason": "stop"})
    span = {
        "attributes": {"gen_ai.system": "local"},
        "events": [
            {"name": "gen_ai.user.message", "attributes": {"gen_ai.event.content": user}},
            {"name": "gen_ai.choice", "attributes": {"gen_ai.event.content": choice}},
        ],
    }
    item = only_item(tmp_path, "otel-genai", json.dumps(span))
    assert isinstance(item, Interaction)
    assert (item.task, item.answer, item.finish_reason) == ("Hi.", "Ho.", "stop")


def test_spans_that_are_not_calls_are_left_out(tmp_path: Path) -> None:
    items = items_of(log_file("otel-genai.jsonl", tmp_path), "otel-genai")
    reasons = [item.reason for item in items if isinstance(item, SkippedLogRow)]
    for reason, words in zip(
        reasons, ("without `gen_ai.`", "not recorded", "`execute_tool`"), strict=True
    ):
        assert words in reason


def test_a_failed_call_is_a_failure(tmp_path: Path) -> None:
    failed = read(tmp_path)[-1]
    assert (failed.task, failed.answer, failed.status) == ("Say no.", None, "failure")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"gen_ai.input.messages": "[{"}, "in `gen_ai.input.messages`"),
        ({"gen_ai.input.messages": [{"role": "elf", "parts": []}]}, "unknown role `elf`"),
        ({"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": 7}, "at `$.content`"),
    ],
)
def test_turns_that_cannot_be_read_are_faults(
    attributes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    item = only_item(tmp_path, "otel-genai", json.dumps({"attributes": attributes}))
    assert isinstance(item, LineFault)
    assert reason in reason_of(item)


def _turn(number: int) -> dict[str, str]:
    return {"role": "user" if number % 2 == 0 else "assistant", "content": str(number)}


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}
