"""The adapter in PEFT's own file format: adapter_model.safetensors and adapter_config.json."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from journeyman.files import write_json
from journeyman.settings import TrainSettings
from journeyman.train.seeds import derived_seed

if TYPE_CHECKING:
    from peft import LoraConfig

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def lora_config(settings: TrainSettings) -> "LoraConfig":
    """PEFT's record of the adapter's shape."""
    from peft import LoraConfig, TaskType

    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets),
        base_model_name_or_path=settings.base,
        task_type=TaskType.CAUSAL_LM,
        bias="none",
    )


def write_adapter(folder: Path, parameters: Mapping[str, Tensor], settings: TrainSettings) -> None:
    """Write both files. parameters: by PEFT's names, as the engine gives them."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in parameters.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    values = lora_config(settings).to_dict()
    values["inference_mode"] = True
    # Sorted: PEFT keeps the targets as a set, whose order changes from process to process.
    write_json(
        folder / CONFIG,
        {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()},
    )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors by PEFT's names."""
    tensors: dict[str, Tensor] = load_file(folder / WEIGHTS)
    return tensors


def initialise(parameters: Mapping[str, Tensor], *, seed: int) -> None:
    """Start values by name and seed, the same for every engine: B is zero, A uniform.

    A has the bounds of a linear layer, 1 / sqrt(in). (Hu et al. 2021, arXiv 2106.09685; PEFT.)
    """
    with torch.no_grad():
        for name, tensor in parameters.items():
            if "lora_B" in name:
                tensor.zero_()
                continue
            generator = torch.Generator().manual_seed(derived_seed(seed, "adapter", name))
            bound = 1 / math.sqrt(tensor.shape[1])
            tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator))


def copy_into(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters. Raises KeyError (missing name), ValueError (shape)."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if tensors[name].shape != parameter.shape:
                raise ValueError(f"`{name}` has shape {tuple(tensors[name].shape)}")
            parameter.copy_(tensors[name])
