"""Write weights as safetensors in the hub's layout: the same bytes for the same weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.files import write_json
from journeyman.model.folders import INDEX

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 4 * 1024**3
OUTPUT_WEIGHT = "lm_head.weight"


def save_weights(tensors: Mapping[str, "torch.Tensor"], folder: Path, *, tied: bool) -> None:
    """One file, or shards of 4 GiB and their index; a tied output layer is left out.

    The only metadata is the format: with more, safetensors writes it in any order, and the file's
    hash would say nothing about the weights.
    """
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file

    kept = {name: x for name, x in tensors.items() if not (tied and name == OUTPUT_WEIGHT)}
    plan = split_torch_state_dict_into_shards(kept, max_shard_size=SHARD_BYTES)
    for file, names in plan.filename_to_tensors.items():
        shard = {name: kept[name].contiguous() for name in names}
        save_file(shard, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        write_json(folder / INDEX, index)
