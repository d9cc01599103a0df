"""What holds for every importer of `journeyman.collect.formats`."""

import json
from pathlib import Path

import pytest

from journeyman.collect.detect import detect
from journeyman.collect.formats.registry import FORMATS, format_named
from journeyman.collect.reading.row_result import SkippedLogRow
from journeyman.data.interactions import read_interactions, write_interactions
from journeyman.data.role_prompts import ROLE_PROMPTS
from journeyman.files import LineFault
from journeyman.records import Interaction
from tests.log_files import FILES, interactions_of, items_of, log_file

ROWS = [name for name in FILES if name.endswith(".jsonl")]


def test_every_format_has_a_file_here() -> None:
    assert {one.name for one in FORMATS} == set(FILES.values())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_recognised_by_its_structure(name: str, tmp_path: Path) -> None:
    renamed = tmp_path / "log"
    renamed.write_bytes(log_file(name, tmp_path).read_bytes())
    assert detect(renamed).name == FILES[name]


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_is_the_same_after_writing_and_reading(name: str, tmp_path: Path) -> None:
    found = interactions_of(log_file(name, tmp_path), FILES[name])
    assert found
    write_interactions(tmp_path / "ours.jsonl", found)
    again = list(read_interactions(tmp_path / "ours.jsonl"))
    assert all(isinstance(one, Interaction) for one in again)
    assert [_without_line(one) for one in again] == [_without_line(one) for one in found]


@pytest.mark.parametrize("name", FILES)
def test_every_interaction_can_be_prepared(name: str, tmp_path: Path) -> None:
    for one in interactions_of(log_file(name, tmp_path), FILES[name]):
        assert one.agent in ROLE_PROMPTS
        assert one.task == [turn.content for turn in one.sent if turn.role == "user"][-1]
        assert (one.answer is None) == (one.status == "failure")
        assert one.conversation or FILES[name] == "journeyman"


@pytest.mark.parametrize("name", FILES)
def test_ids_are_the_same_on_every_reading_and_differ_in_a_file(name: str, tmp_path: Path) -> None:
    path = log_file(name, tmp_path)
    ids = [one.id for one in interactions_of(path, FILES[name])]
    assert ids == [one.id for one in interactions_of(path, FILES[name])]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ROWS)
def test_every_line_gives_items_with_its_number(name: str, tmp_path: Path) -> None:
    path = log_file(name, tmp_path)
    lines = {item.line for item in items_of(path, FILES[name])}
    assert lines == set(range(1, len(path.read_text(encoding="utf-8").splitlines()) + 1))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    "line", ["[1, 2]", "7", '{"a": NaN}', '{"a": 1, "a": 2}', "{", '{"messages": 3}', "{}"]
)
def test_a_broken_row_is_a_fault_of_its_line(name: str, line: str, tmp_path: Path) -> None:
    good = log_file(name, tmp_path).read_text(encoding="utf-8").splitlines()[0]
    path = tmp_path / "log.jsonl"
    path.write_text(f"{good}\n{line}\n{good}\n", encoding="utf-8")
    about = [item for item in items_of(path, FILES[name]) if item.line == 2]
    if FILES[name] == "otel-genai" and line in ('{"messages": 3}', "{}"):
        assert isinstance(about[0], SkippedLogRow)
    else:
        assert isinstance(about[0], LineFault)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("junk", [None, 7, "x", [], [None], {"a": 1}])
def test_a_wrong_type_in_any_field_never_ends_in_a_traceback(
    name: str, junk: object, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in log_file(name, tmp_path).read_text().splitlines()]
    path = tmp_path / "log.jsonl"
    broken = [changed for row in rows for changed in _with_junk(row, junk)]
    path.write_text("".join(json.dumps(row) + "\n" for row in broken), encoding="utf-8")
    items = items_of(path, FILES[name])
    assert {item.line for item in items} == set(range(1, len(broken) + 1))
    kept = [item for item in items if isinstance(item, Interaction)]
    write_interactions(tmp_path / "ours.jsonl", kept)
    again = list(read_interactions(tmp_path / "ours.jsonl"))
    assert not [one for one in again if isinstance(one, LineFault)]


def test_a_torn_tail_is_told_from_a_broken_row(tmp_path: Path) -> None:
    good = log_file("alpaca.json", tmp_path)
    rows = json.loads(good.read_text())
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1])[:30], encoding="utf-8")
    kept, fault = items_of(path, "alpaca")
    assert isinstance(kept, Interaction)
    assert isinstance(fault, LineFault)
    assert fault.torn


def test_the_role_of_the_agent_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    path = log_file("alpaca.json", tmp_path)
    found = [row[0] for row in format_named("alpaca").read(path, " Tester")]
    assert {one.agent for one in found if isinstance(one, Interaction)} == {"tester"}


def _without_line(item: object) -> object:
    assert isinstance(item, Interaction)
    return {name: getattr(item, name) for name in item.__struct_fields__ if name != "line"}


def _with_junk(value: object, junk: object) -> list[object]:
    """The value with each of its parts, at any depth, replaced by junk once."""
    if isinstance(value, dict):
        parts = [(key, part, dict(value)) for key, part in value.items()]
        return [
            {**whole, key: changed}
            for key, part, whole in parts
            for changed in [junk, *_with_junk(part, junk)]
        ]
    if isinstance(value, list):
        return [
            [*value[:place], changed, *value[place + 1 :]]
            for place, part in enumerate(value)
            for changed in [junk, *_with_junk(part, junk)]
        ]
    return []
