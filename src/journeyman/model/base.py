"""Finding a base model by the name that a user writes, and loading it.

`smollm2-135m` comes from an installed package, a `.gguf` file is dequantised once into the cache,
a folder is used directly, and any other name is a model of the hub. The result is always a folder
in the hub's layout that loads without running foreign code: safetensors and JSON only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from journeyman.errors import IntegrityError, UsageError
from journeyman.events import Reporter, ignore
from journeyman.model.chat_template import read_template, sha256_of_template
from journeyman.model.dequantise import dequantise
from journeyman.model.embedded import NAME as EMBEDDED
from journeyman.model.embedded import embedded_gguf
from journeyman.model.folder_checks import check_folder
from journeyman.model.hub import download, is_hub_name
from journeyman.model.weight_files import sha256_of_weights
from journeyman.records import BaseModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


def find_base(name: str, report: Reporter = ignore) -> BaseModel:
    """The base model of that name, ready to load; see above for the names it accepts.

    Raises UsageError with what is missing or refused.
    """
    path = Path(name).expanduser()
    if name == EMBEDDED:
        return _base_model(name, dequantise(embedded_gguf(), EMBEDDED, report), "embedded")
    if path.is_file() and path.suffix == ".gguf":
        return _base_model(name, dequantise(path, name, report), "gguf")
    if path.is_dir():
        return _base_model(name, path.resolve(), "folder")
    require_hub_name(name)
    return _base_model(name, download(name, report), "hub")


def require_hub_name(name: str) -> None:
    """Raise UsageError if a name is neither a folder nor in the form of a hub name."""
    path = Path(name).expanduser()
    if path.exists() or path.suffix == ".gguf" or not is_hub_name(name):
        raise UsageError(
            f"the base `{name}` is neither a model folder nor a GGUF file",
            hint=f"check the path, use the name of a hub model, or `--base {EMBEDDED}`",
        )


def _base_model(
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
    """The base's tokenizer: exactly its tokenizer.json, or what transformers makes of other files.

    transformers alone would use Qwen2's splitting rules for every model of that architecture, even
    if its file has others.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    has_file = (base.folder / "tokenizer.json").is_file()
    kind = PreTrainedTokenizerFast if has_file else AutoTokenizer
    return kind.from_pretrained(str(base.folder), local_files_only=True, trust_remote_code=False)


def load_causal_model(base: BaseModel, dtype: "torch.dtype") -> "torch.nn.Module":
    """The base's weights in a transformers model, in evaluation mode, on the CPU."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    # Only the console may print, but transformers' progress bar writes to stderr.
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
    """The configuration of a model folder, as transformers reads it, without the weights."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
