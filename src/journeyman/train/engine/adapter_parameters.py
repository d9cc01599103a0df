"""Sets an adapter's parameters: to random start values, or to those of a checkpoint."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from journeyman.train.batching.seeds import derived_seed


def initialise(parameters: Mapping[str, Tensor], *, seed: int) -> None:
    """Set the start values, which depend on name and seed only: B is zero, A is uniform.

    A has the bounds of a linear layer, 1 / sqrt(inputs). (Hu et al. 2021, arXiv 2106.09685; PEFT.)
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
    """Overwrite the parameters. Raises KeyError (missing name), ValueError (wrong shape)."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if tensors[name].shape != parameter.shape:
                raise ValueError(f"`{name}` has shape {tuple(tensors[name].shape)}")
            parameter.copy_(tensors[name])
