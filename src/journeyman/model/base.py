"""Find a base model by the name a user writes, and load it.

`smollm2-135m` comes from an installed package, a `.gguf` file is dequantised once into the cache,
a folder is used as it is, and any other name is a model of the hub. Each ends as a folder in the
hub's layout that loads without running anybody's code: safetensors and JSON only.

A model's configuration, without its weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from journeyman.errors import IntegrityError, UsageError
from journeyman.events import Reporter, ignore
from journeyman.model.embedded import NAME as EMBEDDED
from journeyman.model.embedded import embedded_gguf
from journeyman.model.folders import check_folder, sha256_of_weights
from journeyman.model.gguf_base import dequantised
from journeyman.model.hub import downloaded, is_hub_name
from journeyman.model.template import read_template, sha256_of_template
from journeyman.records import BaseModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


def find_base(name: str, report: Reporter = ignore) -> BaseModel:
    """The base model of that name, ready to load; see the module for what a name can be.

    Raises UsageError that says what is missing or refused, and the way out.
    """
    path = Path(name).expanduser()
    if name == EMBEDDED:
        return _described(name, dequantised(embedded_gguf(), EMBEDDED, report), "embedded")
    if path.is_file() and path.suffix == ".gguf":
        return _described(name, dequantised(path, name, report), "gguf")
    if path.is_dir():
        return _described(name, path.resolve(), "folder")
    require_hub_name(name)
    return _described(name, downloaded(name, report), "hub")


def require_hub_name(name: str) -> None:
    """Raise UsageError where a name that is no folder can be no model of the hub either."""
    path = Path(name).expanduser()
    if path.exists() or path.suffix == ".gguf" or not is_hub_name(name):
        raise UsageError(
            f"the base `{name}` is neither a model folder nor a GGUF file",
            hint=f"check the path, name a model of the hub, or use `--base {EMBEDDED}`",
        )


def _described(
    name: str, folder: Path, kind: Literal["hub", "folder", "gguf", "embedded"]
) -> BaseModel:
    check_folder(folder, name)
    template = read_template(folder)
    assert template is not None  # check_folder refuses a folder without one
    return BaseModel(
        name=name,
        folder=folder,
        sha256=sha256_of_weights(folder),
        template_sha256=sha256_of_template(template),
        kind=kind,
    )


def load_tokenizer(base: BaseModel) -> "PreTrainedTokenizerBase":
    """The base's tokenizer: exactly its tokenizer.json, else what transformers makes of the others.

    By itself, transformers takes Qwen2's splitting rules for every model of that architecture,
    also where its file has others.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    is_whole = (base.folder / "tokenizer.json").is_file()
    kind = PreTrainedTokenizerFast if is_whole else AutoTokenizer
    return kind.from_pretrained(str(base.folder), local_files_only=True, trust_remote_code=False)


def load_causal_model(base: BaseModel, dtype: "torch.dtype") -> "torch.nn.Module":
    """The base's weights in a transformers model, in evaluation mode, on the CPU."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    # Nothing but the console prints, and transformers' bar writes to stderr by itself.
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(base.folder),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except SafetensorError as error:
        raise IntegrityError(
            f"the weights in `{base.folder}` are damaged: {error}",
            hint="download or copy the model again",
        ) from error
    module: torch.nn.Module = model.eval()
    return module


def read_config(folder: Path) -> Any:
    """The model's configuration as transformers reads it."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
