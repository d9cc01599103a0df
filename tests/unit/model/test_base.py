"""Base models: what a name can be, and what is refused, with the file it is about."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from journeyman.errors import IntegrityError, UpstreamError, UsageError
from journeyman.events import Event, Progress
from journeyman.gguf.header import read_gguf_header
from journeyman.machine.processor import choose_precision
from journeyman.model.base import find_base, load_tokenizer
from journeyman.model.embedded import embedded_gguf
from journeyman.model.folder_checks import find_faults
from journeyman.model.hub import reporting_bar
from journeyman.model.weight_files import sha256_of_weights
from tests.small_models import small_tokenizer


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The least that makes a base; its weights are no model's."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text('{"model_type": "llama"}')
    (made / "tokenizer.json").write_text("{}")
    (made / "tokenizer_config.json").write_text("{}")
    (made / "chat_template.jinja").write_text("x")
    save_file({"w": np.zeros(3, np.float32)}, made / "model.safetensors")
    return made


def test_a_folder_with_all_parts_is_a_base(folder: Path) -> None:
    base = find_base(str(folder))
    assert (base.name, base.folder, base.kind) == (str(folder), folder, "folder")
    assert base.sha256 == sha256_of_weights(folder)


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        ("config.json", "`config.json` is missing"),
        ("tokenizer.json", "no tokenizer"),
        ("chat_template.jinja", "no chat template"),
        ("model.safetensors", r"no `\*.safetensors` file"),
    ],
)
def test_a_missing_part_is_named(folder: Path, lost: str, reason: str) -> None:
    (folder / lost).unlink()
    with pytest.raises(UsageError, match=reason):
        find_base(str(folder))


def test_pickled_weights_alone_are_refused_unread(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    faults = find_faults(folder)
    assert len(faults) == 1
    assert "`pytorch_model.bin`, a pickle" in faults[0]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(UsageError, match=f"`{name}` has `auto_map`"):
        find_base(str(folder))


def test_a_tokenizer_is_the_files_whatever_the_architecture(folder: Path) -> None:
    from tokenizers import Tokenizer

    small_tokenizer(folder)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    loaded = load_tokenizer(find_base(str(folder))).backend_tokenizer
    true = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # Qwen2's own rules would keep the line breaks together, and join both letters into one.
    for text in ("one\n\n  two\t= 1\r\n", "e\u0301", "don't 1234"):
        assert loaded.encode(text).ids == true.encode(text).ids


def test_a_link_out_of_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (folder / "notes.txt").symlink_to(tmp_path / "secret")
    faults = find_faults(folder)
    assert len(faults) == 1
    assert "`notes.txt` is a link" in faults[0]


def test_the_links_of_the_hubs_cache_are_fine(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "models--owner--name"
    (home / "blobs").mkdir(parents=True)
    (folder / "config.json").rename(home / "blobs" / "c0ffee")
    snapshot = home / "snapshots" / "main"
    shutil.copytree(folder, snapshot)
    (snapshot / "config.json").symlink_to("../../blobs/c0ffee")
    assert find_faults(snapshot) == []


def test_shards_that_the_index_names_must_be_there(folder: Path) -> None:
    index = {"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert find_faults(folder) == ["`model-2.safetensors` is missing"]


def test_everything_that_is_wrong_is_said_at_once(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "config.json").write_text("[")
    with pytest.raises(UsageError) as raised:
        find_base(str(folder))
    assert len(find_faults(folder)) == raised.value.message.count(";") + 1 == 2


def test_other_weights_have_another_hash_though_the_last_one_is_remembered(folder: Path) -> None:
    before = sha256_of_weights(folder)
    assert sha256_of_weights(folder) == before
    save_file({"w": np.ones(4, np.float32)}, folder / "model.safetensors")
    assert sha256_of_weights(folder) != before


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "model.gguf", "a b"])
def test_a_path_that_is_not_there_is_no_hub_name(name: str) -> None:
    with pytest.raises(UsageError, match="neither a model folder nor a GGUF file"):
        find_base(name or "/nowhere at all")


def test_an_absent_hub_model_is_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UpstreamError, match="not in the hub's cache, and HF_HUB_OFFLINE") as raised:
        find_base("journeyman-test/no-such-model")
    assert "\n" not in raised.value.message
    assert "hf download journeyman-test/no-such-model" in raised.value.hint


def test_a_hub_that_nobody_answers_for_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UpstreamError, match=r"http://127.0.0.1:9 cannot be reached \(ConnectError"):
        find_base("journeyman-test/no-such-model")


def test_a_download_reports_bytes_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    bar = reporting_bar("download x", events.append)(total=10, unit="B", mininterval=0)
    bar.update(4)
    bar.close()
    assert Progress("download x", 4, 10, "B") in events
    assert capfd.readouterr() == ("", "")


def test_a_cut_off_gguf_is_refused_with_the_missing_bytes(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    with embedded_gguf().open("rb") as stream:
        path.write_bytes(stream.read(3_000_000))
    with pytest.raises(IntegrityError, match=r"cut.gguf` is not a valid GGUF file"):
        find_base(str(path))


@pytest.mark.parametrize("length", [0, 3, 24, 100, 5000])
def test_a_gguf_cut_in_its_header_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.gguf"
    with embedded_gguf().open("rb") as stream:
        path.write_bytes(stream.read(length))
    with pytest.raises(IntegrityError, match="GGUF"):
        read_gguf_header(path)


@pytest.mark.parametrize(
    ("flags", "expected"), [("sse2 avx2", "fp32"), ("avx512_bf16", "bf16"), ("amx_bf16", "bf16")]
)
def test_bf16_is_chosen_only_where_the_processor_has_it(
    tmp_path: Path, flags: str, expected: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    assert choose_precision(cpuinfo=tmp_path / "cpuinfo").name == expected
