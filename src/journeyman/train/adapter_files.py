"""The adapter in PEFT's own file format: adapter_model.safetensors and adapter_config.json."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from journeyman.files import write_json
from journeyman.settings import TrainSettings
from journeyman.train.seeds import derived_seed

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def write_adapter(folder: Path, parameters: Mapping[str, Tensor], settings: TrainSettings) -> None:
    """Write both files. parameters: by PEFT's names, as the engine gives them."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in parameters.items()}
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, adapter_config(settings))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as safetensors. Raises OSError, as writing any other file does."""
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error ([0-9]+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def adapter_config(settings: TrainSettings) -> dict[str, object]:
    """PEFT's record of plain LoRA on linear layers; what is not named has PEFT's own default."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": settings.base,
        "inference_mode": True,
        "r": settings.lora_r,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        "target_modules": sorted(settings.lora_targets),
        "modules_to_save": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_dora": False,
        "use_rslora": False,
    }


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
            drawn = torch.empty(tensor.shape, device="cpu")
            tensor.copy_(drawn.uniform_(-bound, bound, generator=generator))


def copy_into(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters. Raises KeyError (missing name), ValueError (shape)."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if tensors[name].shape != parameter.shape:
                raise ValueError(f"`{name}` has shape {tuple(tensors[name].shape)}")
            parameter.copy_(tensors[name])
