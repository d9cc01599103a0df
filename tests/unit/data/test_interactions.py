"""`journeyman.data.interactions`: every line is a record or a fault with its place and reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.data.interactions import read_interactions, write_interactions
from journeyman.errors import UsageError
from journeyman.events import Event
from journeyman.files import LineFault
from journeyman.records import Check, Interaction, Message, ToolCall
from tests.logs import REAL_LOG, log_row, needs_real_log, write_log

GOOD = json.dumps(log_row()).encode()


def only(path: Path) -> Interaction:
    (found,) = read_interactions(path)
    assert isinstance(found, Interaction)
    return found


def fault_of(path: Path, line: bytes) -> LineFault:
    """The fault of a line that stands between two good ones."""
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    before, fault, after = read_interactions(path)
    assert isinstance(before, Interaction)
    assert isinstance(after, Interaction)
    assert isinstance(fault, LineFault)
    assert fault.line == 2
    return fault


def test_the_least_row_is_a_success_of_its_agent(tmp_path: Path) -> None:
    found = only(write_log(tmp_path / "log.jsonl", [log_row()]))
    assert (found.agent, found.status, found.answer) == ("coder", "success", "It adds them.")
    assert (found.line, found.source) == (1, "log.jsonl")
    assert found.duration_s is None
    assert found.max_tokens is None


def test_every_optional_field_is_taken(tmp_path: Path) -> None:
    row = log_row(
        id="a1",
        task__task_id="t1",
        llm={"provider": "acme", "model": "large", "config": {"max_tokens": 500}},
        execution__duration_ms=1500,
        execution__finish_reason="stop",
        execution__input_messages=[{"role": "user", "content": "Add."}],
        context={"source": "toolz", "conversation": "c1"},
        checks=[{"kind": "doctest", "source": ">>> 1\n1", "n": 1}],
    )
    found = only(write_log(tmp_path / "log.jsonl", [row]))
    assert (found.id, found.task_id, found.producer, found.max_tokens) == (
        ("a1", "t1", "acme/large", 500)
    )
    assert (found.duration_s, found.finish_reason, found.source) == (1.5, "stop", "toolz")
    assert found.sent == (Message("user", "Add."),)
    assert found.checks == (Check("doctest", ">>> 1\n1", 1),)
    assert found.conversation == "c1"


def test_an_output_of_null_is_a_failure(tmp_path: Path) -> None:
    found = only(write_log(tmp_path / "log.jsonl", [log_row(execution={"output": None})]))
    assert (found.status, found.answer) == ("failure", None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nope", "not JSON: expecting value at byte 0"),
        (b'{"task": {"description": "x"', "not JSON: expecting ',' delimiter at byte 28"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "object missing required field `task`"),
        (GOOD.replace(b'"description"', b'"text"'), "missing required field `description`"),
        (GOOD.replace(b'"It adds them."', b"7"), "expected `str | null`, got `int` - at `$.execut"),
        (GOOD.replace(b'{"output": "It adds them."}', b"{}"), "field `output` - at `$.execution`"),
        (GOOD.replace(b'"coder"', b'" "'), "`$.agent.role` is blank"),
        (GOOD.replace(b"Write a function that adds two numbers.", b""), "description` is blank"),
        (GOOD.replace(b"{", b'{"x": NaN, ', 1), "`NaN` is not JSON"),
        (GOOD.replace(b"{", b'{"x": -Infinity, ', 1), "`-Infinity` is not JSON"),
        (GOOD.replace(b"{", b'{"x": 1e999, ', 1), "the number `1e999` is too large"),
        (GOOD.replace(b"{", b'{"agent": {"role": "x"}, ', 1), "the key `agent` occurs twice"),
        (GOOD.replace(b"It", b"\\ud800"), "surrogate pair near `\\ud800`"),
        (GOOD.replace(b"It", b"\\u0000"), "output` contains the control character `\\x00`"),
        (GOOD.replace(b"It", b"\xff"), "not UTF-8 at byte"),
        (GOOD.replace(b"It", b"\x00"), "holds a NUL byte"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper than 64 levels"),
        (b'{"x": "' + b"x" * 4 * 1024**2 + b'"}', "longer than 4 MiB"),
    ],
)
def test_a_bad_line_is_a_fault_with_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    assert reason in fault_of(tmp_path / "log.jsonl", line).reason


def test_all_blank_fields_of_a_line_are_reported_at_once(tmp_path: Path) -> None:
    row = json.dumps(log_row(task__description=" ", agent__role="")).encode()
    reason = fault_of(tmp_path / "log.jsonl", row).reason
    assert reason == "`$.task.description` is blank; `$.agent.role` is blank"


def test_a_huge_whole_number_does_not_stop_the_reader(tmp_path: Path) -> None:
    row = GOOD.replace(b"{", b'{"x": ' + b"9" * 5000 + b", ", 1)
    (tmp_path / "log.jsonl").write_bytes(row)
    assert only(tmp_path / "log.jsonl").agent == "coder"


@pytest.mark.parametrize("cut", [5, len(GOOD) - 1, GOOD.index(b"adds")])
def test_a_last_line_that_a_crash_cut_off_is_torn(tmp_path: Path, cut: int) -> None:
    (tmp_path / "log.jsonl").write_bytes(GOOD + b"\n" + GOOD[:cut])
    *_, fault = read_interactions(tmp_path / "log.jsonl")
    reason = "half-written: the file ends in the middle of this line"
    assert fault == LineFault(2, reason, torn=True)


def test_a_wrong_last_line_without_a_line_end_is_not_torn(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(GOOD + b"\n{}")
    *_, fault = read_interactions(tmp_path / "log.jsonl")
    assert isinstance(fault, LineFault)
    assert not fault.torn


def test_a_byte_order_mark_crlf_and_blank_lines_leave_the_ids_alone(tmp_path: Path) -> None:
    plain, other = tmp_path / "log.jsonl", tmp_path / "other" / "log.jsonl"
    other.parent.mkdir()
    plain.write_bytes(GOOD + b"\n" + GOOD + b"\n")
    other.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + GOOD)
    ids = [
        [row.id for row in read_interactions(x) if isinstance(row, Interaction)]
        for x in (plain, other)
    ]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_a_utf16_file_is_refused_with_the_name_of_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{}", encoding="utf-16")
    with pytest.raises(UsageError, match="UTF-16"):
        list(read_interactions(tmp_path / "log.jsonl"))


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch()
    assert list(read_interactions(tmp_path / "log.jsonl")) == []


def test_an_id_that_occurs_twice_is_kept_only_for_equal_rows(tmp_path: Path) -> None:
    rows = [log_row(id="a"), log_row(id="a"), log_row(id="a", execution__output="Other.")]
    events: list[Event] = []
    path = write_log(tmp_path / "log.jsonl", rows)
    ids = [row.id for row in read_interactions(path, events.append) if isinstance(row, Interaction)]
    assert ids[:2] == ["a", "a"]
    assert ids[2] not in ("a", "")
    assert "1 row has the `id` of an earlier row" in str(events)


def test_writing_and_reading_gives_the_same_interactions(tmp_path: Path) -> None:
    full = Interaction(
        id="a", line=1, task="t", agent="coder", answer="x", status="failure",
        sent=(Message("user", "t"),), task_id="7", source="s", producer="p/m/n", duration_s=12.918,
        finish_reason="length", max_tokens=500, checks=(Check("assert", "assert f", 1, "f"),),
        tool_calls=(ToolCall("1", "ls", "{}"),), conversation="c",
    )  # fmt: skip
    least = Interaction(id="b", line=2, task="t", agent="coder", answer=None, status="failure",
                        source="s")  # fmt: skip
    assert write_interactions(tmp_path / "log.jsonl", [full, least]) == 2
    assert list(read_interactions(tmp_path / "log.jsonl")) == [full, least]


@given(st.binary(max_size=200))
def test_no_bytes_at_all_stop_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "log.jsonl"
    path.write_bytes(GOOD + b"\n" + data.replace(b"\xff\xfe", b"") + b"\n" + GOOD + b"\n")
    rows = list(read_interactions(path))
    assert isinstance(rows[0], Interaction)
    assert isinstance(rows[-1], Interaction)


@needs_real_log
def test_the_real_log_is_read_without_a_fault_and_survives_a_round_trip(tmp_path: Path) -> None:
    rows = [row for row in read_interactions(REAL_LOG) if isinstance(row, Interaction)]
    assert len({row.id for row in rows}) == 302
    write_interactions(tmp_path / "again.jsonl", rows)
    assert list(read_interactions(tmp_path / "again.jsonl")) == rows
