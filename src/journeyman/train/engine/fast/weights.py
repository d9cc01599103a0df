"""Where the frozen weights come from: a model folder, tensor by tensor, or chance.

A tensor is read when it is asked for, so the whole model never stands in memory in two precisions.
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
        """Whether there is one: some models have biases, some have not."""


class FolderWeights:
    """The safetensors files of a model folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._where = _places(folder)

    def tensor(self, name: str) -> Tensor:
        """Read one tensor into memory of its own."""
        from safetensors import SafetensorError, safe_open

        if name not in self._where:
            raise IntegrityError(
                f"`{self._folder}` has no weight `{name}`",
                hint="download or copy the model again",
            )
        path = self._folder / self._where[name]
        try:
            # Opened and copied each time: what was read of a mapped file stays in memory as long
            # as the map does, and one view would hold a whole file of several GiB.
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name).clone()
        except SafetensorError as error:
            raise IntegrityError(
                f"the weights in `{path}` are damaged: {error}",
                hint="download or copy the model again",
            ) from error
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._where


def _places(folder: Path) -> dict[str, str]:
    """The file of each tensor."""
    from safetensors import SafetensorError, safe_open

    index = folder / INDEX
    if index.is_file():
        named: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return named
    places = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                places.update(dict.fromkeys(file.keys(), path.name))
        except SafetensorError as error:
            raise IntegrityError(
                f"the weights in `{path}` are damaged: {error}",
                hint="download or copy the model again",
            ) from error
    return places


class PlacedWeights:
    """The weights of another source on a device."""

    def __init__(self, source: WeightSource, device: torch.device) -> None:
        self._source = source
        self._device = device

    def tensor(self, name: str) -> Tensor:
        """Read one tensor and bring it there."""
        return self._source.tensor(name).to(self._device)

    def __contains__(self, name: object) -> bool:
        return name in self._source


class RandomWeights:
    """Weights of a shape by chance, to measure what a model of it costs. All layers are alike.

    Normal with the deviation of common start values (0.02); norms are one.
    """

    def __init__(self, shape: DecoderShape, *, biases: bool = False, seed: int = 0) -> None:
        self._shape = shape
        self._biases = biases
        self._seed = seed

    def tensor(self, name: str) -> Tensor:
        """A tensor of that name's shape, in bfloat16."""
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
        out_in = {
            "q_proj": (shape.query_size, shape.hidden),
            "k_proj": (shape.key_size, shape.hidden),
            "v_proj": (shape.key_size, shape.hidden),
            "o_proj": (shape.hidden, shape.query_size),
            "gate_proj": (shape.intermediate, shape.hidden),
            "up_proj": (shape.intermediate, shape.hidden),
            "down_proj": (shape.hidden, shape.intermediate),
            "embed_tokens": (shape.vocabulary, shape.hidden),
            "lm_head": (shape.vocabulary, shape.hidden),
            "q_norm": (shape.head_size,),
            "k_norm": (shape.head_size,),
        }
        size = out_in.get(part, (shape.hidden,))
        return size[:1] if name.endswith("bias") else size
