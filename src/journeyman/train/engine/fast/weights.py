"""Sources of the frozen weights: a model folder, or random numbers.

Each tensor is read only when it is needed, so that the whole model is never in memory in two
precisions.
"""

import json
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from journeyman.errors import IntegrityError
from journeyman.model.weight_files import INDEX
from journeyman.train.engine.fast.shape import DecoderShape


class WeightSource(Protocol):
    """Weights by the names that the Llama family gives them in its files."""

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name, in the precision it is stored in. Raises IntegrityError."""

    def __contains__(self, name: object) -> bool:
        """Whether there is such a tensor: only some models have biases, for example."""


class FolderWeights:
    """The safetensors files of a model folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = _file_of_each_tensor(folder)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor; the file does not stay mapped."""
        from safetensors import SafetensorError, safe_open

        if name not in self._files:
            raise IntegrityError(
                f"`{self._folder}` has no weight `{name}`",
                hint="download or copy the model again",
            )
        path = self._folder / self._files[name]
        try:
            # Opened and copied each time, because pages of a mapped file stay in memory as long as
            # it is mapped, and a single view would keep several GiB.
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name).clone()
        except SafetensorError as error:
            raise _damaged(path, error) from error
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._files


def _file_of_each_tensor(folder: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    index = folder / INDEX
    if index.is_file():
        weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return weight_map
    files = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                files.update(dict.fromkeys(file.keys(), path.name))
        except SafetensorError as error:
            raise _damaged(path, error) from error
    return files


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"the weights in `{path}` are damaged: {error}", hint="download or copy the model again"
    )


class PlacedWeights:
    """The weights of another source, on a device."""

    def __init__(self, source: WeightSource, device: torch.device) -> None:
        self._source = source
        self._device = device

    def tensor(self, name: str) -> Tensor:
        """Read one tensor and move it to the device."""
        return self._source.tensor(name).to(self._device)

    def __contains__(self, name: object) -> bool:
        return name in self._source


class RandomWeights:
    """Random weights of a shape, to measure what such a model costs. All layers are equal.

    Normal with the usual deviation of start values (0.02); norms are one.
    """

    def __init__(self, shape: DecoderShape, *, biases: bool = False, seed: int = 0) -> None:
        self._shape = shape
        self._biases = biases
        self._seed = seed

    def tensor(self, name: str) -> Tensor:
        """A tensor in the shape of that name, in bfloat16."""
        size = self._size(name)
        if name.endswith("norm.weight"):
            return torch.ones(size, dtype=torch.bfloat16)
        generator = torch.Generator().manual_seed(self._seed)
        return torch.randn(size, generator=generator).mul_(0.02).to(torch.bfloat16)

    def __contains__(self, name: object) -> bool:
        text = str(name)
        if text.endswith("bias"):
            return self._biases and any(x in text for x in ("q_proj", "k_proj", "v_proj"))
        if "q_norm" in text or "k_norm" in text:
            return self._shape.family == "qwen3"
        return text != "lm_head.weight" or not self._shape.tied

    def _size(self, name: str) -> tuple[int, ...]:
        shape = self._shape
        part = name.rsplit(".", 2)[-2]
        sizes = {
            **shape.target_sizes,
            "embed_tokens": (shape.vocabulary, shape.hidden),
            "lm_head": (shape.vocabulary, shape.hidden),
            "q_norm": (shape.head_size,),
            "k_norm": (shape.head_size,),
        }
        size = sizes.get(part, (shape.hidden,))
        return size[:1] if name.endswith("bias") else size
