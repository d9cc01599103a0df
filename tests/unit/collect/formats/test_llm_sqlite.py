"""The log of the `llm` tool, in both of its schemas, read without writing a byte."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from journeyman.collect.reading.row_result import SkippedLogRow
from journeyman.collect.reading.sqlite import open_read_only, tables_of
from journeyman.data.interactions import read_interactions, write_interactions
from journeyman.errors import DataRefused, UsageError
from journeyman.files import LineFault
from journeyman.records import Interaction, ToolCall
from tests.log_files import FOLDER, database, interactions_of, items_of, log_file, turns_of

OLD = (FOLDER / "llm-responses.sql").read_text(encoding="utf-8")


def test_calls_are_in_the_order_of_their_conversation(tmp_path: Path) -> None:
    first, second, *_ = interactions_of(log_file("llm-responses.sql", tmp_path), "llm-sqlite")
    assert turns_of(first) == [("system", "Be brief."), ("user", "Name a parrot.")]
    assert turns_of(second)[2:] == [("assistant", "Archibald the"), ("user", "A shorter one.")]
    # 4 tokens of at most 4: cut off, though the provider's payload is missing.
    assert (first.finish_reason, first.duration_s) == ("length", 0.35)
    assert (first.producer, second.finish_reason) == ("small-1-2026", "stop")
    assert (first.line, second.line) == (2, 1)


@pytest.mark.parametrize("name", ["llm-responses.sql", "llm-turns.sql"])
def test_tools_and_their_results_are_turns(name: str, tmp_path: Path) -> None:
    found = interactions_of(log_file(name, tmp_path), "llm-sqlite")
    asked, answered = (one for one in found if one.task == "What is 1 + 2?")
    assert (asked.answer, asked.finish_reason) == ("", "tool_calls")
    assert [(call.id, call.name) for call in asked.tool_calls] == [("c-1", "add")]
    assert answered.sent[-2].tool_calls == asked.tool_calls
    assert turns_of(answered)[-1] == ("tool", "3")
    assert answered.answer == "It is 3."


def test_fragments_are_part_of_what_was_sent(tmp_path: Path) -> None:
    old = interactions_of(log_file("llm-responses.sql", tmp_path), "llm-sqlite")
    assert old[-1].task == "first words\nlast words\nSum it up."
    (tmp_path / "logs.db").unlink()
    new = interactions_of(log_file("llm-turns.sql", tmp_path), "llm-sqlite")
    assert new[2].task == "first words\nSum it up."


def test_a_call_in_both_tables_counts_once(tmp_path: Path) -> None:
    items = items_of(log_file("llm-turns.sql", tmp_path), "llm-sqlite")
    left_out = [item.reason for item in items if isinstance(item, SkippedLogRow)]
    assert (len(items), len(left_out)) == (5, 1)
    assert "`turns`" in left_out[0]
    assert [one.answer for one in items if not isinstance(one, SkippedLogRow | LineFault)][
        -1
    ] == "Yes."


def test_a_call_with_an_attachment_and_all_after_it_are_left_out(tmp_path: Path) -> None:
    more = (
        "INSERT INTO responses (id, model, prompt, response, conversation_id, datetime_utc) VALUES"
        " ('r7', 'm', 'And this?', 'A dog.', 'c4', '2026-03-01T09:05:00');"
    )
    items = items_of(database(tmp_path, OLD + more), "llm-sqlite")
    reasons = [item.reason for item in items if isinstance(item, SkippedLogRow)]
    assert len(reasons) == 2
    assert "attachment" in reasons[0]
    assert "earlier call" in reasons[1]


def test_a_value_of_another_type_is_a_fault_with_its_column(tmp_path: Path) -> None:
    sql = OLD + "UPDATE responses SET response = x'00ff' WHERE id = 'r5';"
    items = items_of(database(tmp_path, sql), "llm-sqlite")
    (fault,) = [item for item in items if isinstance(item, LineFault)]
    assert (fault.line, fault.reason) == (5, "expected `str | null`, got `bytes` - at `response`")


@pytest.mark.parametrize("junk", ["x'00ff'", "7", "'{'"])
@pytest.mark.parametrize("name", ["llm-responses.sql", "llm-turns.sql"])
def test_junk_in_any_column_never_ends_in_a_traceback(name: str, junk: str, tmp_path: Path) -> None:
    path = log_file(name, tmp_path)
    whole = path.read_bytes()
    with open_read_only(path) as connection:
        tables = tables_of(connection)
    items = []
    for place in [(table, column) for table, columns in tables.items() for column in columns]:
        path.write_bytes(whole)
        _set_first(path, *place, junk)
        items += items_of(path, "llm-sqlite")
    kept = [one for one in items if isinstance(one, Interaction)]
    write_interactions(tmp_path / "ours.jsonl", kept)
    again = list(read_interactions(tmp_path / "ours.jsonl"))
    assert not [one for one in again if isinstance(one, LineFault)]


def _set_first(path: Path, table: str, column: str, value: str) -> None:
    # SQLite itself keeps text out of a column that is its row's number.
    with contextlib.closing(sqlite3.connect(path)) as file, contextlib.suppress(sqlite3.Error):
        file.execute(f'UPDATE {table} SET "{column}" = {value} WHERE rowid = 1')
        file.commit()


def test_the_first_schema_without_any_later_table_is_read(tmp_path: Path) -> None:
    sql = (
        "CREATE TABLE responses (id TEXT, model TEXT, prompt TEXT, system TEXT, response TEXT,"
        " conversation_id TEXT, datetime_utc TEXT);"
        "INSERT INTO responses VALUES ('a', 'm', 'Hi.', NULL, 'Ho.', NULL, '2023'),"
        " ('b', 'm', 'Hey.', NULL, 'Hey.', NULL, '2023');"
    )
    found = interactions_of(database(tmp_path, sql), "llm-sqlite")
    assert [len(one.sent) for one in found] == [1, 1]
    assert found[0].duration_s is None


def test_a_chain_in_a_circle_is_a_fault(tmp_path: Path) -> None:
    sql = (FOLDER / "llm-turns.sql").read_text(encoding="utf-8")
    sql += "UPDATE messages SET parent_hash = 'h4' WHERE hash = 'h1';"
    faults = [
        item
        for item in items_of(database(tmp_path, sql), "llm-sqlite")
        if isinstance(item, LineFault)
    ]
    assert faults
    assert all("the chain of messages breaks" in fault.reason for fault in faults)


def test_nothing_can_be_written_to_an_opened_file(tmp_path: Path) -> None:
    path = log_file("llm-responses.sql", tmp_path)
    before = path.read_bytes()
    with pytest.raises(DataRefused, match="readonly"), open_read_only(path) as connection:
        connection.execute("DELETE FROM responses")
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["logs.db"]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = log_file("llm-responses.sql", tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
    with pytest.raises(DataRefused, match="cannot be read as an SQLite database"):
        items_of(path, "llm-sqlite")


def test_text_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(DataRefused, match="is not an SQLite database"):
        items_of(path, "llm-sqlite")
    with pytest.raises(UsageError, match="is not a file"):
        items_of(tmp_path / "none", "llm-sqlite")


def test_tool_calls_keep_their_arguments_as_logged(tmp_path: Path) -> None:
    found = interactions_of(log_file("llm-responses.sql", tmp_path), "llm-sqlite")
    assert found[2].tool_calls == (ToolCall("c-1", "add", '{"a": 1, "b": 2}'),)


def test_sqlite_here_is_new_enough() -> None:
    # `sqlite_schema` came with 3.33 (2020).
    assert sqlite3.sqlite_version_info >= (3, 33)
