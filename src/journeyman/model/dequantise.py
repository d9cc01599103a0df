"""Turning a GGUF file into a model folder, once, in the cache under the file's hash.

The weights are float32: a quantised block is scale * number + offset, computed in float32, and
float16 or bfloat16 would round the result again. Promise: the folder is complete or absent, and of
two processes that need it only one makes it.
"""

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.errors import IntegrityError, UsageError
from journeyman.events import Progress, ProgressEnded, Reporter, ignore
from journeyman.files import atomic_folder, sha256_of
from journeyman.gguf.header import GgufHeader, read_gguf_header
from journeyman.model.gguf_tokenizer import write_tokenizer
from journeyman.model.weight_files import save_weights
from journeyman.runs import cache_folder, read_manifest, wait_for_folder_lock, write_manifest
from journeyman.temporary_folders import OwnedFolder

if TYPE_CHECKING:
    import torch

ARCHITECTURES = ("llama", "qwen2", "qwen3")
# Increase it when the written files change, so that old folders are not used.
LAYOUT = 2


def dequantise(gguf: Path, name: str, report: Reporter = ignore) -> Path:
    """The cache folder with the model of a GGUF file, made now if it is missing."""
    header = read_gguf_header(gguf, architectures=None)
    architecture = header.architecture
    if architecture not in ARCHITECTURES:
        raise UsageError(
            f"`{name}` has the architecture `{architecture}`, "
            f"which is not one of {', '.join(ARCHITECTURES)}",
            hint="use the model's folder in the Hugging Face layout",
        )
    sha256 = sha256_of(gguf)
    home = cache_folder() / "bases" / sha256
    folder = home / f"layout-{LAYOUT}"
    with wait_for_folder_lock(home, f"dequantising {name}", report):
        if read_manifest(folder) is None:
            _make(gguf, header, folder, sha256=sha256, name=name, report=report)
    return folder


def _make(
    gguf: Path, header: GgufHeader, folder: Path, *, sha256: str, name: str, report: Reporter
) -> None:
    task = f"dequantise {name}"
    report(Progress(task, 0, 3, detail="tokenizer"))
    with atomic_folder(folder, replace=True) as temporary:
        write_tokenizer(header, temporary, name=name)
        report(Progress(task, 1, 3, detail="reading weights"))
        model = _load(gguf)
        report(Progress(task, 2, 3, detail="writing weights"))
        _save(model, temporary)
        write_manifest(temporary, stage="dequantise", settings={}, inputs={gguf.name: sha256})
    report(ProgressEnded(task, f"{name}: dequantised to float32 in `{folder}`"))


def _load(gguf: Path) -> "torch.nn.Module":
    import torch
    from transformers import AutoModelForCausalLM

    # transformers accepts only a file in the folder that it is given.
    with OwnedFolder("gguf") as folder:
        link = folder / "model.gguf"
        link.symlink_to(gguf.resolve())
        try:
            # Its progress bar writes to stderr even if its logging is off.
            with contextlib.redirect_stderr(io.StringIO()):
                model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
                    folder, gguf_file=link.name, dtype=torch.float32, local_files_only=True
                )
        except (ValueError, KeyError, NotImplementedError) as error:
            raise IntegrityError(
                f"`{gguf}` cannot be read as a model: {error}",
                hint="use the model's folder in the Hugging Face layout",
            ) from error
    return model


def _save(model: "torch.nn.Module", folder: Path) -> None:
    from transformers import GenerationConfig, PretrainedConfig

    config = model.config
    assert isinstance(config, PretrainedConfig)
    # The written weights are no longer quantised.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    if hasattr(config, "_model_name_or_path"):
        del config._model_name_or_path
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    save_weights(model.state_dict(), folder, tied=bool(config.tie_word_embeddings))
