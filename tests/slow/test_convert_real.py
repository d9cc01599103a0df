"""The whole way from an adapter to a quantised GGUF, with the real llama.cpp."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from journeyman.convert.outputs import ConversionResult
from journeyman.convert.stage import compare, convert
from journeyman.errors import IntegrityError, UsageError
from journeyman.gguf.header import GgufHeader, read_gguf_header
from journeyman.llama_cpp import find_tools
from journeyman.model.base import find_base
from journeyman.model.chat_template import CHATML
from journeyman.model.gguf_tokenizer import write_tokenizer
from journeyman.runs import read_manifest
from journeyman.settings import ConvertSettings
from tests.needs import LLAMA_CPP, missing
from tests.small_models import small_adapter, small_dataset, small_model

pytestmark = pytest.mark.slow

CONVERT = """
import sys
from pathlib import Path
from journeyman.convert.stage import convert
from journeyman.settings import ConvertSettings
model, output, data = map(Path, sys.argv[1:])
convert(ConvertSettings(model=model, output=output, data_dir=data, quantize="none"))
"""
# Killed between the merged weights and their conversion.
KILLED = f"""
import os, signal
import journeyman.convert.stage as stage
stage.convert_folder = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
{CONVERT}"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ConvertSettings:
    root = tmp_path_factory.mktemp("convert")
    return ConvertSettings(
        model=small_adapter(root / "adapter", "smollm2-135m", size=0.02),
        output=root / "models" / "tuned.gguf",
        data_dir=small_dataset(root / "data"),
        parity_prompts=3,
        parity_tokens=16,
    )


@pytest.fixture(scope="module")
def converted(settings: ConvertSettings) -> ConversionResult:
    return convert(settings)


def test_an_adapter_becomes_a_checked_and_quantised_gguf(
    settings: ConvertSettings, converted: ConversionResult
) -> None:
    folder = settings.output.parent
    assert (converted.parity.equal, converted.parity.tokens) == (3, 16)
    assert read_gguf_header(settings.output).tokens == 49152
    assert sorted(path.name for path in folder.iterdir()) == [
        "tuned.f16.gguf",
        "tuned.gguf",
        "tuned.gguf.manifest.json",
    ]
    manifest = read_manifest(folder, name="tuned.gguf.manifest.json")
    assert manifest is not None
    assert manifest.outputs["tuned.gguf"] == converted.gguf.sha256


def test_a_second_run_finds_its_work_done(
    settings: ConvertSettings, converted: ConversionResult
) -> None:
    again = convert(settings)
    assert (again.outcome, again.gguf) == ("fresh", converted.gguf)


def test_another_adapter_does_not_replace_it(
    settings: ConvertSettings, converted: ConversionResult, tmp_path: Path
) -> None:
    other = small_adapter(tmp_path / "other", "smollm2-135m", seed=2)
    with pytest.raises(UsageError, match=r"tuned\.gguf` .*already exist"):
        convert(ConvertSettings(model=other, output=settings.output, data_dir=settings.data_dir))


def test_a_gguf_merged_with_another_scale_is_found_out(
    settings: ConvertSettings, converted: ConversionResult, tmp_path: Path
) -> None:
    adapter = shutil.copytree(settings.model, tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["lora_alpha"] *= 4
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    wrong = dataclasses.replace(settings, model=adapter)
    with pytest.raises(IntegrityError, match="differently from the adapter"):
        compare(converted.f16.path, find_base("smollm2-135m"), wrong, find_tools())


def test_a_killed_conversion_leaves_no_file_and_can_be_repeated(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "llama")
    adapter, data = small_adapter(tmp_path / "adapter", base), small_dataset(tmp_path / "data")
    output = tmp_path / "models" / "m.gguf"
    words = [str(adapter), str(output), str(data)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in output.parent.iterdir()] == [".tmp-m.gguf.work"]
    assert (output.parent / ".tmp-m.gguf.work" / "files" / "merged").is_dir()
    subprocess.run([sys.executable, "-c", CONVERT, *words], check=True)
    names = sorted(path.name for path in output.parent.iterdir())
    assert names == ["m.gguf", "m.gguf.manifest.json"]


def test_a_qwen2_model_with_biases_and_its_own_vocabulary_is_converted(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "qwen2")
    write_tokenizer(qwen2_vocabulary(), base, name="qwen2")
    settings = ConvertSettings(
        model=small_adapter(tmp_path / "adapter", widened(base)),
        output=tmp_path / "qwen.gguf",
        data_dir=small_dataset(tmp_path / "data"),
        parity_prompts=3,
        parity_tokens=8,
    )
    assert convert(settings).parity.equal == 3


def test_a_qwen2_model_with_another_tokenizer_keeps_it_in_its_gguf(tmp_path: Path) -> None:
    base = small_model(tmp_path / "base", "qwen2")
    settings = ConvertSettings(
        model=small_adapter(tmp_path / "adapter", base),
        output=tmp_path / "other.gguf",
        data_dir=small_dataset(tmp_path / "data"),
        quantize="none",
        parity_prompts=3,
        parity_tokens=8,
    )
    assert convert(settings).parity.equal == 3
    assert read_gguf_header(settings.output).text("tokenizer.ggml.pre") == "smollm"


def qwen2_vocabulary() -> GgufHeader:
    """Qwen2's tokenizer, which llama.cpp's source tree carries, with Qwen2.5's template."""
    path = find_tools().source / "models" / "ggml-vocab-qwen2.gguf"
    if not path.is_file():
        pytest.skip(missing(f"`{path.name}` of llama.cpp's sources", LLAMA_CPP))
    header = read_gguf_header(path, architectures=None, has_weights=False)
    values = {**header.values, "tokenizer.chat_template": CHATML}
    return msgspec.structs.replace(header, values=values)


def widened(base: Path) -> Path:
    """The base with random rows for all of Qwen2's tokens, and logits large enough to decide."""
    rows = 151936
    config = json.loads((base / "config.json").read_text())
    ends = {"vocab_size": rows, "bos_token_id": 151643, "eos_token_id": 151645}
    (base / "config.json").write_text(json.dumps(config | ends | {"pad_token_id": 151643}))
    (base / "generation_config.json").write_text('{"eos_token_id": [151645, 151643]}')
    tensors = load_file(base / "model.safetensors")
    noise = torch.Generator().manual_seed(3)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = torch.randn(rows, 64, generator=noise)
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    return base
