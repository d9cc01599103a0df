"""Reading and writing an adapter's files in PEFT's format: the weights and the configuration."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from journeyman.files import write_json
from journeyman.model.adapter import CONFIG, WEIGHTS
from journeyman.settings import TrainSettings


def write_adapter(folder: Path, parameters: Mapping[str, Tensor], settings: TrainSettings) -> None:
    """Write adapter_model.safetensors and adapter_config.json. parameters: by PEFT's names."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in parameters.items()}
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, adapter_config(settings))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors. Raises OSError like writing any other file."""
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error ([0-9]+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def adapter_config(settings: TrainSettings) -> dict[str, object]:
    """PEFT's configuration of plain LoRA on linear layers; other keys have PEFT's defaults."""
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
