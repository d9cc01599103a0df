"""Rows that must not be trained on, and losses that are not finite."""

import json
import math
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load_file, save_file

from journeyman.errors import DataRefused, IntegrityError
from journeyman.events import Caution, Event
from journeyman.files import write_records
from journeyman.model.base import find_base
from journeyman.model.chat import load_chat
from journeyman.records import Message, ToolCall
from journeyman.train.batching.rows import read_rows
from journeyman.train.checkpoint.rerun import rerun
from journeyman.train.stage import train
from tests.small_models import small_dataset, small_example, small_model
from tests.training_runs import names, short_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("data"), train=10, val=3)


def test_rows_that_are_too_long_are_named_and_never_cut(
    base: Path, data: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    rows = read_rows(data / "train.jsonl", load_chat(find_base(str(base))), max_tokens=2048)
    lengths = sorted(len(row.ids) for row in rows.used)
    limit = lengths[-1] - 1
    train(short_run(base, data, tmp_path / "out", max_tokens=limit, max_steps=1), events.append)
    cautions = [event.text for event in events if isinstance(event, Caution)]
    assert any(f"{lengths[-1]} tokens, more than {limit}" in text for text in cautions)
    config = json.loads((tmp_path / "out" / "training_config.json").read_text())
    assert len(config["left_out"]["train"]) == lengths.count(lengths[-1])


def test_a_split_with_nothing_to_train_on_is_refused(
    base: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataRefused, match="no row to train on"):
        train(short_run(base, data, tmp_path / "out", max_tokens=5))


def test_a_row_that_the_template_cannot_express_is_named(base: Path, tmp_path: Path) -> None:
    talk = (
        Message("user", "What is in a.py?"),
        Message("assistant", "", tool_calls=(ToolCall("c1", "read", '{"path": "a.py"}'),)),
    )
    row = msgspec.structs.replace(small_example(0, ""), id="calls", messages=talk)
    write_records(tmp_path / "rows.jsonl", [row])
    chat = load_chat(find_base(str(base)))
    with pytest.raises(DataRefused, match="row `calls`: the chat template leaves out `read`"):
        read_rows(tmp_path / "rows.jsonl", chat, max_tokens=2048)


def test_the_end_of_a_cut_off_answer_is_not_trained(base: Path, tmp_path: Path) -> None:
    example = small_example(0, "{{ messages[0].content }}")
    cut = msgspec.structs.replace(example, id="cut", trains_end=False)
    write_records(tmp_path / "rows.jsonl", [example, cut])
    whole, other = read_rows(
        tmp_path / "rows.jsonl", load_chat(find_base(str(base))), max_tokens=2048
    ).used
    assert whole.ids == other.ids
    assert whole.trained_tokens == other.trained_tokens + 1


def test_only_the_answer_is_trained(base: Path, tmp_path: Path) -> None:
    example = small_example(0, "{{ messages[0].content }}")
    write_records(tmp_path / "rows.jsonl", [example])
    chat = load_chat(find_base(str(base)))
    (row,) = read_rows(tmp_path / "rows.jsonl", chat, max_tokens=2048).used
    trained = [token for token, counts in zip(row.ids, row.trained, strict=True) if counts]
    assert chat.decode(trained) == Message("assistant", example.messages[-1].content).content


@pytest.fixture(scope="module")
def broken_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_model(tmp_path_factory.mktemp("broken") / "base")
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_base_with_nan_is_found_before_the_first_step(
    broken_base: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="of the base is not finite"):
        train(short_run(broken_base, data, tmp_path / "out"))
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_nan_in_a_step_stops_before_the_update_with_a_replay(
    broken_base: Path, data: Path, tmp_path: Path
) -> None:
    rows = small_dataset(tmp_path / "data", train=4)
    # The only validation row is too long to be used, so that the first NaN is in a step.
    long = small_example(0, "{{ messages[0].content }}")
    messages = (*long.messages[:-1], Message("assistant", "word " * 400))
    write_records(
        tmp_path / "data" / "val.jsonl", [msgspec.structs.replace(long, messages=messages)]
    )
    with pytest.raises(IntegrityError, match="the loss is not finite at step 1"):
        train(short_run(broken_base, rows, tmp_path / "out", max_tokens=200))
    assert names(tmp_path / "out") == {
        ".lock",
        "logs",
        "replay-step-1",
        "start.json",
        "status.json",
        "train.log",
        "training_config.json",
    }
    again = rerun(tmp_path / "out" / "replay-step-1", lambda _: None)
    assert again.replay.micro_batch == 1
    assert [len(part.rows) for part in again.replay.parts] == [2, 2]
    assert not any(math.isfinite(loss) for loss in again.losses)
    assert not again.is_finite
    assert again.not_finite
