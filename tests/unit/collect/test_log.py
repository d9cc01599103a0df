"""`journeyman.collect.log`: every row is counted once, and the output is complete or missing."""

import json
from pathlib import Path

import pytest

from journeyman.cli import run
from journeyman.collect.formats.registry import FORMATS
from journeyman.collect.log import LogCollection, collect_log
from journeyman.data.interactions import read_interactions
from journeyman.errors import DataRefused, IntegrityError, UsageError
from journeyman.events import Caution, Event, Progress, Reporter, ignore
from journeyman.settings import CollectLogSettings
from tests.log_files import FILES, log_file
from tests.logs import REAL_LOG, needs_real_log

GOOD = json.dumps({"prompt": "Say yes.", "completion": "Yes."})
OTHER = json.dumps({"prompt": "Say no.", "completion": "No."})


def collected(
    folder: Path, *paths: Path, report: Reporter = ignore, **changes: object
) -> LogCollection:
    settings = CollectLogSettings(output=folder / "out" / "ours.jsonl", **changes)  # type: ignore[arg-type]
    return collect_log(paths, settings, report)


def written(folder: Path, *lines: str, name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def total(found: LogCollection) -> int:
    return found.kept + found.duplicates + sum(found.left_out.values()) + found.faulty


@pytest.mark.parametrize("name", FILES)
def test_the_totals_of_every_format_add_up(name: str, tmp_path: Path) -> None:
    found = collected(tmp_path, log_file(name, tmp_path))
    assert found.formats == (FILES[name],)
    assert total(found) == found.rows > 0
    assert len(list(read_interactions(found.path))) == found.interactions > 0


def test_several_files_of_different_formats_become_one(tmp_path: Path) -> None:
    paths = [log_file(name, tmp_path) for name in FILES if name != "llm-turns.sql"]
    found = collected(tmp_path, *paths)
    assert len(set(found.formats)) == len(FORMATS)
    assert total(found) == found.rows
    again = tmp_path / "again.jsonl"
    collect_log(paths, CollectLogSettings(output=again))
    assert again.read_bytes() == found.path.read_bytes()


def test_a_row_seen_before_counts_as_a_duplicate(tmp_path: Path) -> None:
    first = written(tmp_path, GOOD, OTHER, GOOD)
    second = written(tmp_path, GOOD, name="second.jsonl")
    found = collected(tmp_path, first, second)
    assert (found.rows, found.kept, found.duplicates, found.interactions) == (4, 2, 2, 2)


def test_equal_ids_of_two_logs_do_not_lose_a_row(tmp_path: Path) -> None:
    row = {"id": "1", "task": {"description": "a"}, "agent": {"role": "coder"}}
    rows = [json.dumps({**row, "execution": {"output": text}}) for text in "xy"]
    paths = [written(tmp_path, one, name=f"{n}.jsonl") for n, one in enumerate(rows)]
    found = collected(tmp_path, *paths)
    kept = list(read_interactions(found.path))
    assert found.kept == len({getattr(one, "id", "") for one in kept}) == 2


def test_a_broken_row_stops_it_and_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, '{"prompt": 7, "completion": "x"}', OTHER)
    with pytest.raises(DataRefused, match="1 of 3 rows") as caught:
        collected(tmp_path, path)
    assert f"`{path}` line 2: expected" in caught.value.message
    assert "--max-bad-lines 1" in caught.value.hint
    assert not (tmp_path / "out" / "ours.jsonl").exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_tolerated_broken_rows_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, '{"prompt": 7, "completion": "x"}', OTHER)
    events: list[Event] = []
    found = collected(tmp_path, path, report=events.append, max_bad_lines=1)
    assert (found.kept, found.faulty, found.faults[0].line) == (2, 1, 2)
    assert [event.text for event in events if isinstance(event, Caution)] != []


def test_half_a_line_at_the_end_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"{GOOD}\n{OTHER[:20]}", encoding="utf-8")
    found = collected(tmp_path, path)
    assert (found.kept, found.faulty, found.faults[0].torn) == (1, 1, True)


def test_an_old_output_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    found = collected(tmp_path, written(tmp_path, GOOD))
    before = found.path.read_bytes()
    with pytest.raises(DataRefused):
        collected(tmp_path, written(tmp_path, GOOD, "{"))
    assert found.path.read_bytes() == before


def test_the_input_is_never_written_over(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    link = tmp_path / "link.jsonl"
    link.hardlink_to(path)
    for output in (path, link):
        with pytest.raises(UsageError, match="is both input and output"):
            collect_log([path], CollectLogSettings(output=output))
    assert path.read_text(encoding="utf-8") == GOOD + "\n"


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, *[f'{{"prompt": "{n}", "completion": "x"}}' for n in range(1000)])

    def append(event: Event) -> None:
        if isinstance(event, Progress):
            with path.open("a", encoding="utf-8") as stream:
                stream.write(GOOD + "\n")

    with pytest.raises(IntegrityError, match="changed while it was read"):
        collected(tmp_path, path, report=append)


def test_nothing_to_learn_is_refused_with_the_reasons(tmp_path: Path) -> None:
    span = '{"attributes": {"gen_ai.operation.name": "chat"}}'
    with pytest.raises(DataRefused, match="none of 2 rows") as caught:
        collected(tmp_path, written(tmp_path, span, span))
    assert "2 times: a call whose content was not recorded" in caught.value.message


def test_text_of_a_log_cannot_control_the_terminal(tmp_path: Path) -> None:
    row = {"messages": [{"role": "\x1b[2J", "content": "x"}, {"role": "assistant", "content": "y"}]}
    with pytest.raises(DataRefused) as caught:
        collected(tmp_path, written(tmp_path, json.dumps(row)))
    assert "unknown role `?[2J`" in caught.value.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "csv"}, "format `csv`"),
        ({"agent": " "}, "the agent role is blank"),
        ({"max_bad_lines": -1}, "`--max-bad-lines` is -1"),
    ],
)
def test_an_impossible_setting_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    settings = CollectLogSettings(output=tmp_path / "out", **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        collect_log([written(tmp_path, GOOD)], settings)


def test_a_role_without_a_prompt_is_a_warning(tmp_path: Path) -> None:
    events: list[Event] = []
    collected(tmp_path, written(tmp_path, GOOD), report=events.append, agent="bard")
    (caution,) = [event for event in events if isinstance(event, Caution)]
    assert "`bard`" in caution.text


def test_the_command_collects_and_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ours.jsonl"
    assert run(["collect", "log", str(written(tmp_path, GOOD, OTHER)), "-o", str(output)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{output}\n"
    assert "rows 2: kept 2, duplicate 0, left out 0, faulty 0; interactions 2" in captured.err


def test_the_command_lists_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["collect", "formats"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{one.name} " in out for one in FORMATS)


@needs_real_log
def test_the_real_log_passes_through_unchanged(tmp_path: Path) -> None:
    found = collected(tmp_path, REAL_LOG)
    assert (found.rows, found.kept, found.formats) == (302, 302, ("journeyman",))
    before = [getattr(one, "id", "") for one in read_interactions(REAL_LOG)]
    assert [getattr(one, "id", "") for one in read_interactions(found.path)] == before
