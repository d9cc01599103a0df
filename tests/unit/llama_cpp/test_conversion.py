"""Converting and quantising: what is refused, what is cached, what is left after a failure."""

import json
import struct
from pathlib import Path

import msgspec
import pytest

from journeyman.errors import DataRefused, IntegrityError, MachineError, UsageError
from journeyman.events import Event, Progress
from journeyman.llama_cpp.conversion import cached_gguf, convert_folder, quantise
from journeyman.llama_cpp.tools import Tools
from tests.fake_tools import fake_tools
from tests.gguf_files import gguf_bytes, write_gguf

QUANTIZE = '#!/bin/sh\necho "[   1/  2] blk.0"\necho run >> "$0.runs"\ncp "$1" "$2"\n'
FAILING = "#!/bin/sh\necho 'unknown tensor type' >&2\nexit 4\n"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JOURNEYMAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    made = fake_tools(tmp_path / "tools", quantize=QUANTIZE)
    write_gguf(made.source / "answer.gguf")
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    header = json.dumps({"w": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(48)
    (folder / "model.safetensors").write_bytes(data)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_becomes_a_gguf_with_its_hash_and_size(model: Path, tools: Tools) -> None:
    said: list[Event] = []
    out = model.parent / "out" / "m.gguf"
    gguf = convert_folder(model, out, tools, said.append)
    assert (gguf.path, gguf.size_bytes, gguf.quantization) == (out, len(gguf_bytes()), "F16")
    assert Progress("convert to GGUF", 50, 100, "%") in said
    assert names(out.parent) == ["m.gguf"]


def test_a_converter_that_fails_is_quoted_and_leaves_nothing(model: Path, tools: Tools) -> None:
    (tools.source / "answer.gguf").unlink()
    with pytest.raises(MachineError, match="the tokenizer is not known") as caught:
        convert_folder(model, model.parent / "out" / "m.gguf", tools)
    assert names(model.parent / "out") == []
    log = Path(caught.value.hint.split("`")[1])
    assert "the tokenizer is not known" in log.read_text()


def test_a_converter_that_writes_half_a_file_is_found_out(model: Path, tools: Tools) -> None:
    write_gguf(tools.source / "answer.gguf", gguf_bytes()[:-1])
    with pytest.raises(IntegrityError, match="ends at byte"):
        convert_folder(model, model.parent / "out" / "m.gguf", tools)
    assert names(model.parent / "out") == []


def test_a_folder_that_brings_code_is_refused(model: Path, tools: Tools) -> None:
    (model / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "evil.py"}}')
    with pytest.raises(DataRefused, match="auto_map"):
        convert_folder(model, model.parent / "m.gguf", tools)


def test_a_folder_with_pickled_weights_only_is_refused(model: Path, tools: Tools) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(DataRefused, match="no safetensors"):
        convert_folder(model, model.parent / "m.gguf", tools)


def test_cut_safetensors_are_refused_before_the_converter_runs(model: Path, tools: Tools) -> None:
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 10**15) + b"{}")
    with pytest.raises(IntegrityError, match="not a complete safetensors"):
        convert_folder(model, model.parent / "m.gguf", tools)


def test_too_little_space_is_said_before_anything_is_written(model: Path, tools: Tools) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**50], "data_offsets": [0, 8]}}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(8)
    (model / "model.safetensors").write_bytes(data)
    with pytest.raises(MachineError, match="are free"):
        convert_folder(model, model.parent / "out" / "m.gguf", tools)
    assert not (model.parent / "out").exists()


def test_a_quantisation_is_spelled_as_llama_cpp_does(tmp_path: Path, tools: Tools) -> None:
    f16 = write_gguf(tmp_path / "f16.gguf")
    said: list[Event] = []
    assert quantise(f16, tmp_path / "q.gguf", "q4_k_m", tools, said.append).quantization == "Q4_K_M"
    assert said[0] == Progress("quantise to Q4_K_M", 1, 2, "tensors")


def test_an_unknown_quantisation_is_refused_with_the_list(tmp_path: Path, tools: Tools) -> None:
    with pytest.raises(UsageError, match="`Q9`") as caught:
        quantise(write_gguf(tmp_path / "f16.gguf"), tmp_path / "q.gguf", "Q9", tools)
    assert "Q4_K_M" in caught.value.hint


def test_a_quantiser_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path) -> None:
    tools = fake_tools(tmp_path / "tools", quantize=FAILING)
    f16 = write_gguf(tmp_path / "f16.gguf")
    with pytest.raises(MachineError, match=r"code 4: unknown tensor type"):
        quantise(f16, tmp_path / "out" / "q.gguf", "Q8_0", tools)
    assert names(tmp_path / "out") == []


def test_the_cache_makes_a_gguf_once(model: Path, tools: Tools) -> None:
    first = cached_gguf(model, "ab" * 32, "Q8_0", tools)
    assert cached_gguf(model, "ab" * 32, "q8_0", tools) == first
    assert (tools.source / "llama-quantize.runs").read_text() == "run\n"
    assert names(first.path.parent) == ["manifest.json", "model.gguf"]
    assert not list(first.path.parent.parent.glob(".tmp-*"))


@pytest.mark.parametrize("change", ["template", "build", "size"])
def test_the_cache_makes_a_gguf_again_when_something_changed(
    model: Path, tools: Tools, change: str
) -> None:
    first = cached_gguf(model, "ab" * 32, "Q8_0", tools)
    if change == "template":
        (model / "chat_template.jinja").write_text("{{ other }}")
    elif change == "build":
        tools = msgspec.structs.replace(tools, identity="another")
    else:
        first.path.write_bytes(b"GGUF")
    cached_gguf(model, "ab" * 32, "Q8_0", tools)
    assert (tools.source / "llama-quantize.runs").read_text() == "run\nrun\n"
