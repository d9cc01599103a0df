"""`journeyman.data.log_turns`: tool calls in a log, in this project's shape and in OpenAI's."""

from pathlib import Path

import pytest

from journeyman.data.interactions import read_interactions
from journeyman.files import LineFault
from journeyman.records import Interaction, Message, ToolCall
from tests.logs import log_row, write_log

CALL = ToolCall("c1", "add", '{"a":1}')
FLAT = {"id": "c1", "name": "add", "arguments": '{"a":1}'}
OPENAI = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def first(folder: Path, **changes: object) -> Interaction | LineFault:
    return next(read_interactions(write_log(folder / "log.jsonl", [log_row(**changes)])))


@pytest.mark.parametrize("call", [FLAT, OPENAI])
def test_both_shapes_of_a_call_are_the_same_record(tmp_path: Path, call: object) -> None:
    turns = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": "1", "tool_call_id": "c1", "tool_calls": None},
    ]
    found = first(tmp_path, execution__input_messages=turns, execution__tool_calls=[call])
    assert isinstance(found, Interaction)
    assert found.tool_calls == (CALL,)
    assert found.sent[1:] == (
        Message("assistant", "", tool_calls=(CALL,)),
        Message("tool", "1", tool_call_id="c1"),
    )


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "user", "content": None}, "expected `str`, got `null`"),
        ({"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}, "call has no name"),
        ({"role": "assistant", "tool_calls": [FLAT]}, "missing required field `content`"),
    ],
)
def test_a_turn_that_says_nothing_is_a_fault(tmp_path: Path, turn: object, reason: str) -> None:
    found = first(tmp_path, execution__input_messages=[turn])
    assert isinstance(found, LineFault)
    assert reason in found.reason
    assert "$.execution.input_messages[0]" in found.reason


def test_a_plain_chat_is_written_without_the_fields_of_tools(tmp_path: Path) -> None:
    from journeyman.data.interactions import write_interactions

    found = first(tmp_path, execution__input_messages=[{"role": "user", "content": "Add."}])
    assert isinstance(found, Interaction)
    write_interactions(tmp_path / "again.jsonl", [found])
    assert "tool_call" not in (tmp_path / "again.jsonl").read_text(encoding="utf-8")
