"""`journeyman.data.dataset`: rows come back as they were written, or not at all."""

from pathlib import Path

import msgspec
import pytest

from journeyman.data.dataset import DatasetMetadata, LoggedCalls, read_examples, read_metadata
from journeyman.errors import DataRefused, UsageError
from journeyman.files import write_json, write_records
from journeyman.records import Example, Message, ToolCall

ROW = Example(
    id="a",
    messages=(Message("user", "Add."), Message("assistant", "Yes.")),
    text="Add. Yes.",
    agent="coder",
    task_id=None,
    status="success",
    source="log",
    group="g",
)


def refusal(path: Path) -> DataRefused:
    with pytest.raises(DataRefused) as found:
        read_examples(path)
    assert "journeyman prepare" in found.value.hint
    return found.value


def test_examples_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, msgspec.structs.replace(ROW, id="b", trains_end=False, findings=("cut-off",))]
    assert write_records(tmp_path / "train.jsonl", rows) == 2
    assert read_examples(tmp_path / "train.jsonl") == rows


def test_an_answer_that_only_asks_for_tools_is_an_answer(tmp_path: Path) -> None:
    call = ToolCall("c1", "read", '{"path": "a.py"}')
    asks = Message("assistant", "", tool_calls=(call,))
    gives = Message("tool", "x = 1", tool_call_id="c1", name="read")
    talk = (ROW.messages[0], asks, gives, asks)
    row = msgspec.structs.replace(ROW, messages=talk)
    write_records(tmp_path / "train.jsonl", [row])
    assert read_examples(tmp_path / "train.jsonl") == [row]


def test_every_bad_line_is_named_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_records(path, [ROW, ROW, msgspec.structs.replace(ROW, id="c", messages=ROW.messages[:1])])
    with path.open("ab") as stream:
        stream.write(b'\n{"id": 7}\n')
    assert refusal(path).message.split("\n") == [
        f"`{path}` line 2: `$.id` `a` is already used in line 1",
        f"`{path}` line 3: `$.messages` does not end with an `assistant` turn",
        f"`{path}` line 5: expected `str`, got `int` - at `$.id`",
    ]


def test_a_blank_answer_is_refused(tmp_path: Path) -> None:
    blank = msgspec.structs.replace(ROW, messages=(ROW.messages[0], Message("assistant", " ")))
    write_records(tmp_path / "train.jsonl", [blank])
    assert "line 1: `$.messages[1].content` is blank" in refusal(tmp_path / "train.jsonl").message


def test_only_the_first_ten_bad_lines_are_written_out(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n" * 30, encoding="utf-8")
    lines = refusal(tmp_path / "train.jsonl").message.split("\n")
    assert (len(lines), lines[-1]) == (11, "and 20 more")


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "val.jsonl").touch()
    assert "no rows" in refusal(tmp_path / "val.jsonl").message


def test_a_missing_split_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as found:
        read_examples(tmp_path / "val.jsonl")
    assert "journeyman prepare" in found.value.hint


def test_metadata_gives_what_other_stages_use_and_ignores_the_rest(tmp_path: Path) -> None:
    calls = LoggedCalls(k=3, n=4, latency_n=2, mean_latency_s=1.5, median_latency_s=1.0)
    write_json(tmp_path / "metadata.json", {"base": "b", "baseline": calls, "policy": "seed"})
    assert read_metadata(tmp_path) == DatasetMetadata(base="b", baseline=calls)


def test_a_folder_without_metadata_is_read_as_one_that_says_nothing(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) == DatasetMetadata()


@pytest.mark.parametrize("damaged", [b"{", b'{"base": 7}', b'{"base": "\xff"}'])
def test_damaged_metadata_is_refused_and_names_its_file(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "metadata.json").write_bytes(damaged)
    with pytest.raises(DataRefused, match=r"metadata\.json") as refused:
        read_metadata(tmp_path)
    assert "journeyman prepare" in refused.value.hint
