"""Claude Code's sessions: branches, answers in pieces, parallel tools, rows that are left out."""

import json
from collections import Counter
from pathlib import Path

from journeyman.collect.reading.row_result import SkippedLogRow
from journeyman.files import LineFault
from journeyman.records import Interaction, ToolCall
from tests.log_files import interactions_of, items_of, log_file, turns_of


def test_an_answer_that_ends_a_request_has_all_earlier_turns(tmp_path: Path) -> None:
    found = interactions_of(log_file("claude-code.jsonl", tmp_path), "claude-code")
    first, second, _ = found
    assert (first.task, first.answer) == ("Is there a test for add?", "No, there is none.")
    assert turns_of(first)[1:] == [
        ("assistant", "I look for it."),
        ("tool", "add.py:1"),
        ("tool", "no files"),
    ]
    assert turns_of(second)[:4] == turns_of(first)
    assert turns_of(second)[4:] == [("assistant", "No, there is none."), ("user", "Write one.")]
    assert (second.finish_reason, second.producer) == ("length", "anthropic/claude-example")


def test_pieces_of_an_answer_and_parallel_tools_are_joined(tmp_path: Path) -> None:
    first = interactions_of(log_file("claude-code.jsonl", tmp_path), "claude-code")[0]
    assert first.sent[1].tool_calls == (
        ToolCall("toolu_1", "Grep", '{"pattern":"add"}'),
        ToolCall("toolu_2", "Glob", '{"pattern":"test_*.py"}'),
    )
    assert [turn.tool_call_id for turn in first.sent[2:]] == ["toolu_1", "toolu_2"]


def test_a_sidechain_is_a_branch_of_its_own(tmp_path: Path) -> None:
    last = interactions_of(log_file("claude-code.jsonl", tmp_path), "claude-code")[2]
    assert turns_of(last) == [("user", "Find where add is called.")]
    assert last.conversation == "s-1"


def test_left_out_events_have_their_reasons(tmp_path: Path) -> None:
    items = items_of(log_file("claude-code.jsonl", tmp_path), "claude-code")
    reasons = Counter(item.reason for item in items if isinstance(item, SkippedLogRow))
    for words in ("interrupted", "not from the model", "`summary`", "tools ran after it"):
        assert sum(count for reason, count in reasons.items() if words in reason) == 1
    assert sum(reasons.values()) == 17


def test_a_session_copied_into_one_file_twice_gives_the_same_ids(tmp_path: Path) -> None:
    text = log_file("claude-code.jsonl", tmp_path).read_text(encoding="utf-8")
    path = tmp_path / "log.jsonl"
    path.write_text(text + text, encoding="utf-8")
    assert len({one.id for one in interactions_of(path, "claude-code")}) == 3


def test_a_tool_without_a_result_leaves_the_answers_after_it_out(tmp_path: Path) -> None:
    lines = log_file("claude-code.jsonl", tmp_path).read_text(encoding="utf-8").splitlines()
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(line for line in lines if '"u6"' not in line), encoding="utf-8")
    found = [item for item in items_of(path, "claude-code") if isinstance(item, Interaction)]
    assert [one.answer for one in found] == ["Nowhere."]


def test_a_chain_in_a_circle_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    events = [_event("user", "a", "c", "Hello."), _event("assistant", "b", "a", "Hi.")]
    path.write_text(
        "\n".join(map(json.dumps, [*events, _event("user", "c", "b", "Again.")])), encoding="utf-8"
    )
    faults = [item for item in items_of(path, "claude-code") if isinstance(item, LineFault)]
    assert len(faults) == 1
    assert "`parentUuid`" in faults[0].reason


def _event(kind: str, name: str, parent: str, text: str) -> dict[str, object]:
    said = {"role": kind, "content": [{"type": "text", "text": text}]}
    return {"type": kind, "uuid": name, "parentUuid": parent, "sessionId": "s", "message": said}
