"""`journeyman.files`: strict lines in, whole files out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.errors import MachineError, UsageError
from journeyman.files import (
    LINE_LIMIT_BYTES,
    LineFault,
    NumberedLine,
    atomic_file,
    atomic_folder,
    content_id,
    read_lines,
    read_records,
    write_records,
    write_text,
)
from journeyman.records import Message


def lines_of(path: Path, data: bytes) -> list[NumberedLine | LineFault]:
    path.write_bytes(data)
    return list(read_lines(path))


def write_half(path: Path) -> None:
    with atomic_file(path) as stream:
        stream.write(b"half")
        raise RuntimeError


def fill_half(path: Path) -> None:
    with atomic_folder(path) as folder:
        (folder / "a").touch()
        raise RuntimeError


def test_blank_lines_crlf_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    found = lines_of(tmp_path / "log", b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"b":2}')
    assert found == [NumberedLine(1, b'{"a":1}'), NumberedLine(4, b'{"b":2}')]


def test_a_unicode_line_separator_does_not_end_a_line(tmp_path: Path) -> None:
    data = '{"a":"x\u2028y\u0085z"}\n'.encode()
    assert lines_of(tmp_path / "log", data) == [NumberedLine(1, data.strip())]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": "\xff"}\n', "not UTF-8 at byte 7"),
        (b'{"a": "\x00"}\n', "holds a NUL byte"),
        (b'{"a": 1', "half-written: the file ends in the middle of this line"),
        (b"[" * 100_000 + b"]" * 100_000 + b"\n", "nested deeper than 64 levels"),
    ],
)
def test_a_bad_line_is_a_fault_and_the_next_line_is_read(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    found = lines_of(tmp_path / "log", b'{"first":1}\n' + data)
    assert found == [NumberedLine(1, b'{"first":1}'), LineFault(2, reason)]


def test_brackets_in_strings_are_not_nesting(tmp_path: Path) -> None:
    data = b'{"a": "' + b"[" * 500 + b'\\""}'
    assert lines_of(tmp_path / "log", data + b"\n") == [NumberedLine(1, data)]


def test_a_line_over_the_limit_is_passed_over_and_the_next_one_read(tmp_path: Path) -> None:
    found = lines_of(tmp_path / "log", b"x" * (3 * LINE_LIMIT_BYTES) + b'\n{"a":1}\n')
    assert found == [LineFault(1, "longer than 4 MiB"), NumberedLine(2, b'{"a":1}')]


def test_utf16_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"a":1}\n', encoding="utf-16")
    with pytest.raises(UsageError, match="UTF-16"):
        list(read_lines(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.jsonl` is not a file"):
        list(read_lines(tmp_path / "nowhere.jsonl"))


def test_records_come_back_and_a_wrong_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_records(path, [Message("user", "hello")]) == 1
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"role":"user","content":5}\n')
    good, bad = read_records(path, Message)
    assert good == Message("user", "hello")
    assert isinstance(bad, LineFault)
    assert bad.line == 2
    assert "$.content" in bad.reason


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result"
    write_text(path, "old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert [p.name for p in tmp_path.iterdir()] == ["result"]
    assert path.read_text(encoding="utf-8") == "old"


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fill_half(tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()
    with atomic_folder(tmp_path / "made", replace=True) as folder:
        (folder / "new").touch()
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write"):
        write_text(tmp_path / "file" / "below", "x")


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_ids_are_equal_only_for_equal_parts(first: list[str], second: list[str]) -> None:
    assert (content_id(*first) == content_id(*second)) == (first == second)
