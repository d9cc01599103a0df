"""`journeyman.collect.detect`: the one format that matches, or why each one does not."""

import contextlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.collect.detect import detect
from journeyman.collect.formats.registry import FORMATS, format_named
from journeyman.errors import JourneymanError, UsageError
from tests.log_files import FOLDER, database


def test_an_unknown_file_is_refused_with_a_reason_per_format(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"question": "Why?", "reply": "Because."}\n', encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        detect(path)
    for one in FORMATS:
        assert f"\n  {one.name}: " in caught.value.message
    assert "alpaca: no `instruction`" in caught.value.message
    assert "--format" in caught.value.hint


def test_a_broken_row_does_not_hide_the_format(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = (FOLDER / "openai-chat.jsonl").read_text(encoding="utf-8")
    path.write_text('{"half": \n{"other": 1}\n' + good, encoding="utf-8")
    assert detect(path).name == "openai-chat"


def test_rows_that_match_two_formats_are_a_question_to_the_user(tmp_path: Path) -> None:
    row = {"request": {"messages": []}, "response": {"error": "overloaded"}}
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="`chat-completions` and `anthropic-messages`"):
        detect(path)


def test_rows_that_match_in_part_say_how_many(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"x": 1}\n{"x": 2}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"prompt-completion: no `prompt` \(1 of 3 rows"):
        detect(path)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"not JSON", b"\x00\x01\x02", b"[]", b"[1]"])
def test_a_file_without_objects_has_no_format(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="no JSON object"):
        detect(path)


def test_another_programs_database_has_no_format(tmp_path: Path) -> None:
    path = database(tmp_path, "CREATE TABLE birds (name TEXT);")
    with pytest.raises(UsageError, match="llm-sqlite: it has no table `turns` or `responses`"):
        detect(path)


def test_a_list_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text('[{"instruction": "a",\n "output": "b"},', encoding="utf-8")
    with pytest.raises(UsageError, match="not a JSON list"):
        detect(path)


def test_a_missing_file_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        detect(tmp_path / "none")
    with pytest.raises(UsageError, match=r"format `csv`.*`journeyman`, "):
        format_named("csv")


_KEYS = st.sampled_from(
    [
        "messages",
        "request",
        "response",
        "choices",
        "stop_reason",
        "conversations",
        "from",
        "instruction",
        "output",
        "prompt",
        "completion",
        "type",
        "message",
        "uuid",
        "attributes",
        "resourceSpans",
        "gen_ai.prompt.0.role",
        "task",
        "agent",
        "execution",
        "error",
        "body",
        "content",
        "role",
        "events",
        "gen_ai.operation.name",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | _KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(rows=st.lists(st.dictionaries(_KEYS, _VALUES, max_size=5), max_size=4))
def test_any_rows_are_recognised_or_refused(rows: list[object]) -> None:
    _recognised_or_refused("".join(json.dumps(row) + "\n" for row in rows).encode())


@given(data=st.binary(max_size=60), start=st.sampled_from([b"", b"[", b"{", b"SQLite format 3\0"]))
def test_any_bytes_are_recognised_or_refused(data: bytes, start: bytes) -> None:
    _recognised_or_refused(start + data)


def _recognised_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(data)
        with contextlib.suppress(JourneymanError):
            found = detect(path)
            assert [item for row in found.read(path, "coder") for item in row]
