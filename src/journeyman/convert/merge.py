"""Merging an adapter into its base: W + scale * B @ A in float32, one shard of weights at a time.

Promise: weights without an adapter keep their exact bytes; the others are float32 sums of float32
factors. (In bfloat16, rounding would lose small updates.)
Not covered: adapters other than LoRA on linear layers (`model.adapter` refuses them).
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from journeyman.errors import IntegrityError
from journeyman.events import Caution, Progress, ProgressEnded, Reporter, ignore
from journeyman.model.adapter import WEIGHTS, Adapter
from journeyman.model.weight_files import INDEX, OUTPUT_WEIGHT, weight_files
from journeyman.records import BaseModel

if TYPE_CHECKING:
    import torch

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
# The files that a model folder needs beside its weights; nothing else is copied.
_SMALL = ("*.json", "*.jinja", "tokenizer.model", "merges.txt")
_F16_LARGEST = 65504.0

Factors = dict[str, tuple["torch.Tensor", "torch.Tensor"]]


def merge(adapter: Adapter, base: BaseModel, folder: Path, report: Reporter = ignore) -> None:
    """Fill an empty folder with the merged model: weights, configuration, tokenizer and template.

    Raises IntegrityError if a factor has no matching weight, or a sum is not finite in float16.
    """
    factors = read_factors(adapter)
    _require_matching_weights(factors, adapter, base)
    if not any(bool(b.any()) for _, b in factors.values()):
        text = f"the adapter `{adapter.folder}` has no effect: all its B matrices are zero"
        report(Caution(text, hint="train it for at least one step"))
    files = weight_files(base.folder)
    for number, file in enumerate(files):
        report(Progress("merge", number, len(files), "files", detail=file.name))
        _merge_file(file, folder / file.name, factors, adapter.scale)
    report(ProgressEnded("merge", f"{len(factors)} weights merged in float32"))
    _copy_small_files(base.folder, folder)


def read_factors(adapter: Adapter) -> Factors:
    """Pairs (A: (rank, in), B: (out, rank)) in float32, by the name of the base's weight."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(adapter.folder / WEIGHTS)
    names = sorted(name.removesuffix(_A) for name in tensors if name.endswith(_A))
    others = [x for x in tensors if x.endswith(_B) and x.removesuffix(_B) not in names]
    unpaired = others + [name + _A for name in names if name + _B not in tensors]
    if unpaired:
        raise IntegrityError(
            f"`{unpaired[0]}` in `{adapter.folder / WEIGHTS}` has no matching A or B matrix",
            hint="copy the adapter again, or use an earlier checkpoint",
        )
    return {
        name.removeprefix(_PREFIX) + ".weight": (
            tensors[name + _A].to(torch.float32),
            tensors[name + _B].to(torch.float32),
        )
        for name in names
    }


def _require_matching_weights(factors: Factors, adapter: Adapter, base: BaseModel) -> None:
    """Raise IntegrityError with the updates that match no weight of the base in name and shape."""
    shapes = _shapes(base.folder)
    faults = []
    for name, (a, b) in factors.items():
        update = (b.shape[0], a.shape[1])
        if name not in shapes:
            tied = " (it is tied to the embedding)" if name == OUTPUT_WEIGHT else ""
            faults.append(f"the base has no weight `{name}`{tied}")
        elif shapes[name] != update or a.shape[0] != b.shape[1]:
            faults.append(f"`{name}` is {shapes[name]}, its update {update}")
    if faults:
        raise IntegrityError(
            f"the adapter `{adapter.folder}` does not fit the base `{base.name}`: "
            + "; ".join(faults[:5]),
            hint="use the base that the adapter was trained on",
        )


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a handle, not a mapping)
                shapes[name] = tuple(tensors.get_slice(name).get_shape())
    return shapes


def _merge_file(source: Path, goal: Path, factors: Factors, scale: float) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(source)
    for name in tensors.keys() & factors.keys():
        tensors[name] = merged_weight(tensors[name], *factors[name], scale=scale)
        if not float(tensors[name].abs().max()) <= _F16_LARGEST:
            raise IntegrityError(
                f"the merged weight `{name}` is not finite in float16",
                hint="the adapter is damaged or its training diverged; use an earlier checkpoint",
            )
    save_file(tensors, goal, metadata={"format": "pt"})


def merged_weight(
    weight: "torch.Tensor", a: "torch.Tensor", b: "torch.Tensor", *, scale: float
) -> "torch.Tensor":
    """weight + scale * b @ a in float32. weight: (out, in), a: (rank, in), b: (out, rank)."""
    import torch

    return weight.to(torch.float32) + scale * (b @ a)


def _copy_small_files(source: Path, goal: Path) -> None:
    for pattern in _SMALL:
        for file in source.glob(pattern):
            if file.name not in (INDEX, "manifest.json"):
                shutil.copyfile(file, goal / file.name)
    if (source / INDEX).is_file():
        _write_index(json.loads((source / INDEX).read_text(encoding="utf-8")), goal)


def _write_index(index: Mapping[str, object], goal: Path) -> None:
    # Merged weights are float32 and larger than the base's, so the total size changes.
    total = sum(file.stat().st_size for file in goal.glob("*.safetensors"))
    merged = {"metadata": {"total_size": total}, "weight_map": index["weight_map"]}
    (goal / INDEX).write_bytes(msgspec.json.encode(merged))
