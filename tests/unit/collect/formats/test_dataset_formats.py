"""ShareGPT, Alpaca, prompt and completion: rows and lists of public datasets."""

import json
from pathlib import Path

import pytest

from journeyman.collect.reading import json_rows
from journeyman.collect.reading.row_result import SkippedLogRow
from journeyman.errors import UsageError
from journeyman.files import LineFault
from journeyman.records import Interaction, ToolCall
from tests.log_files import interactions_of, items_of, log_file, only_item, reason_of, turns_of


def test_sharegpt_gives_an_interaction_for_each_answer(tmp_path: Path) -> None:
    first, second, tools = interactions_of(log_file("sharegpt.json", tmp_path), "sharegpt")
    assert (first.answer, second.answer) == ("A list that does not change.", "With commas: (1, 2).")
    assert len(second.sent) == 3
    assert first.conversation == second.conversation == "row-chat-1"
    assert tools.sent[2].tool_calls == (ToolCall("", "size", '{"path":"main.py"}'),)
    assert turns_of(tools)[3] == ("tool", "120 bytes")
    assert turns_of(tools)[0] == ("system", "You can use tools.")


def test_entries_of_a_list_have_the_lines_they_start_on(tmp_path: Path) -> None:
    path = log_file("sharegpt.json", tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    starts = [n for n, line in enumerate(lines, start=1) if line.startswith("  {")]
    assert sorted({item.line for item in items_of(path, "sharegpt")}) == starts


def test_a_greeting_before_the_first_request_was_never_sent(tmp_path: Path) -> None:
    turns = [("system", "S"), ("gpt", "Hello!"), ("human", "Who?"), ("gpt", "I.")]
    row = {"conversations": [{"from": who, "value": text} for who, text in turns]}
    item = only_item(tmp_path, "sharegpt", json.dumps(row))
    assert isinstance(item, Interaction)
    assert turns_of(item) == [("system", "S"), ("user", "Who?")]


@pytest.mark.parametrize(
    ("speaker", "value", "reason"),
    [
        ("narrator", "a", "unknown speaker `narrator` - at `$.conversations[0].from`"),
        ("function_call", "a", "function call: "),
    ],
)
def test_an_unreadable_turn_is_a_fault(
    speaker: str, value: str, reason: str, tmp_path: Path
) -> None:
    row = {"conversations": [{"from": speaker, "value": value}]}
    item = only_item(tmp_path, "sharegpt", json.dumps(row))
    assert isinstance(item, LineFault)
    assert reason in item.reason


def test_alpaca_joins_instruction_and_input(tmp_path: Path) -> None:
    first, second = interactions_of(log_file("alpaca.json", tmp_path), "alpaca")
    assert (first.task, first.answer) == ("Give the square of the number.\n\n7", "49")
    assert turns_of(second) == [
        ("system", "You know numbers."),
        ("user", "Name an even number."),
        ("assistant", "4"),
        ("user", "Name a prime."),
    ]


def test_a_prompt_is_text_or_turns(tmp_path: Path) -> None:
    path = log_file("prompt-completion.jsonl", tmp_path)
    text, turns, response = interactions_of(path, "prompt-completion")
    assert text.answer == "def larger(a, b):\n    return a if a > b else b"
    assert turns_of(turns) == [("system", "Be brief."), ("user", "What is 2 + 2?")]
    assert (response.answer, response.producer) == ("Yes.", "small-1")


def test_a_completion_of_two_turns_is_left_out(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": "a"}
    row = {"prompt": "p", "completion": [turn, turn]}
    item = only_item(tmp_path, "prompt-completion", json.dumps(row))
    assert isinstance(item, SkippedLogRow)
    assert "2 turns" in reason_of(item)


def test_a_list_with_a_broken_entry_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(
        '\n[{"instruction": "a", "output": "b"},\n{"instruction": 1, "output": "b"},\n'
        '{"instruction": "c", "output": "d", "output": "e"}]',
        encoding="utf-8",
    )
    kept, wrong, twin = items_of(path, "alpaca")
    assert isinstance(kept, Interaction)
    assert (wrong.line, reason_of(wrong)) == (3, "expected `str`, got `int` - at `$.instruction`")
    assert (twin.line, reason_of(twin)) == (4, "the key `output` occurs twice in one object")


def test_a_list_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "LIST_LIMIT_BYTES", 10)
    with pytest.raises(UsageError, match="the limit is 10") as caught:
        items_of(log_file("alpaca.json", tmp_path), "alpaca")
    assert "jq -c '.[]'" in caught.value.hint


def test_a_list_on_one_line_is_a_list(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    row = {"instruction": "a", "output": "b"}
    path.write_text(json.dumps([row, {**row, "input": "c"}]) + "\n", encoding="utf-8")
    assert len(interactions_of(path, "alpaca")) == 2


def test_lines_of_which_the_first_is_a_list_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('[1, 2]\n{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    wrong, kept = items_of(path, "alpaca")
    assert isinstance(wrong, LineFault)
    assert isinstance(kept, Interaction)


def test_depth_in_a_list_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text("[\n" + "[" * 100 + "]" * 100 + "\n]", encoding="utf-8")
    (item,) = items_of(path, "alpaca")
    assert "nested deeper" in reason_of(item)
