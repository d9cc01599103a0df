"""The safetensors files of a model folder: which they are, their hash, and how to write them."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.files import content_id, sha256_of, write_json
from journeyman.runs import cache_folder

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
OUTPUT_WEIGHT = "lm_head.weight"
SHARD_BYTES = 4 * 1024**3


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the model, by name: those of the index if there is one."""
    every = sorted(folder.glob("*.safetensors"))
    single = [path for path in every if path.name == "model.safetensors"]
    values = read_object(folder / INDEX)
    if values is None:
        return single or every
    named = values.get("weight_map")
    wanted = set(named.values()) if isinstance(named, dict) else set()
    return [path for path in every if path.name in wanted]


def sha256_of_weights(folder: Path) -> str:
    """Hex sha256 over the names and hashes of the weight files, in the order of their names."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        digest.update(f"{path.name} {_cached_sha256(path)}\n".encode())
    return digest.hexdigest()


class _FileHash(Struct, frozen=True):
    """A file's sha256, and its size and time when it was hashed."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str


def _cached_sha256(path: Path) -> str:
    # Hashing 15 GB takes a minute, so the hash is kept until the file's size or time changes.
    real = path.resolve()
    before = real.stat()
    key = (str(real), before.st_size, before.st_mtime_ns)
    cache = cache_folder() / "hashes" / f"{content_id(str(real))}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        known = msgspec.json.decode(cache.read_bytes(), type=_FileHash)
        if (known.path, known.size_bytes, known.modified_ns) == key:
            return known.sha256
    sha256 = sha256_of(real)
    write_json(cache, _FileHash(*key, sha256))
    return sha256


def save_weights(tensors: Mapping[str, "torch.Tensor"], folder: Path, *, tied: bool) -> None:
    """Write one file, or shards of 4 GiB and their index; without the output layer if it is tied.

    The same weights give the same bytes. The only metadata is the format: safetensors writes more
    keys in any order, which would change the hash.
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


def read_object(path: Path) -> dict[str, object] | None:
    """The JSON object in a file, or None if the file is missing or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
