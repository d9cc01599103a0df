"""The values of an adapter's parameters: drawn at the start, or copied in from a checkpoint."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from journeyman.train.batching.seeds import derived_seed


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
