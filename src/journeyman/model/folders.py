"""A model folder in the hub's layout: is it fit to be a base, and which weights does it hold?

Everything that is wrong with a folder is said at once, each with the file it is about.
Not covered: whether the weights are any good.

Write weights as safetensors in the hub's layout: the same bytes for the same weights.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.files import content_id, sha256_of, write_json
from journeyman.model.template import read_template
from journeyman.runs import cache_folder

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")

_CONFIGS = ("config.json", "tokenizer_config.json")

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def check_folder(folder: Path, name: str) -> None:
    """Raise UsageError that lists why this folder cannot be a base, if it cannot."""
    faults = find_faults(folder)
    if faults:
        raise UsageError(
            f"the base `{name}` cannot be used: " + "; ".join(faults),
            hint="a base is a folder with config.json, *.safetensors, tokenizer.json and a "
            "chat template; an instruct model in the hub's layout has them all",
        )


def find_faults(folder: Path) -> list[str]:
    """Every reason against a folder, empty where it can be loaded without running its code."""
    return [
        *_config_faults(folder),
        *_weight_faults(folder),
        *_tokenizer_faults(folder),
        *_link_faults(folder),
    ]


def _config_faults(folder: Path) -> list[str]:
    faults = []
    for name in _CONFIGS:
        path = folder / name
        if not path.is_file():
            if name == "config.json":
                faults.append("`config.json` is missing")
            continue
        values = _json(path)
        if values is None:
            faults.append(f"`{name}` is no JSON object")
        elif values.get("auto_map"):
            faults.append(f"`{name}` has `auto_map`: it wants to run code of its own, never done")
    return faults


def _weight_faults(folder: Path) -> list[str]:
    files = weight_files(folder)
    if not files:
        pickles = sorted(x.name for x in folder.iterdir() if x.suffix in _PICKLES)
        if pickles:
            return [
                f"its only weights are `{pickles[0]}`, a pickle that could run code, never read"
            ]
        return ["there is no `*.safetensors` file"]
    index = folder / INDEX
    if not index.is_file():
        return []
    values = _json(index)
    named = values.get("weight_map") if values else None
    if not isinstance(named, dict):
        return [f"`{INDEX}` has no `weight_map`"]
    found = {file.name for file in files}
    return [f"`{name}` is missing" for name in sorted({str(x) for x in named.values()} - found)]


def _tokenizer_faults(folder: Path) -> list[str]:
    faults = []
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        faults.append("it has no tokenizer (`tokenizer.json`)")
    # An unreadable config was reported above; the template in it cannot be told.
    readable = all(_json(folder / x) is not None for x in _CONFIGS if (folder / x).is_file())
    if readable and read_template(folder) is None:
        faults.append("it has no chat template (`chat_template.jinja`)")
    return faults


def _link_faults(folder: Path) -> list[str]:
    # The hub's cache keeps a model's files as links from snapshots/COMMIT/ to blobs/ beside it.
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    links = (path for path in sorted(folder.rglob("*")) if path.is_symlink())
    return [
        f"`{path.relative_to(folder)}` is a link to a place outside of the model"
        for path in links
        if not path.resolve().is_relative_to(root)
    ]


def _json(path: Path) -> dict[str, object] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the model, by name: those of the index where there is one."""
    every = sorted(folder.glob("*.safetensors"))
    whole = [path for path in every if path.name == "model.safetensors"]
    values = _json(folder / INDEX)
    if values is None:
        return whole or every
    named = values.get("weight_map")
    wanted = set(named.values()) if isinstance(named, dict) else set()
    return [path for path in every if path.name in wanted]


def sha256_of_weights(folder: Path) -> str:
    """Hex sha256 over the names and hashes of the weight files; their order does not matter."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        digest.update(f"{path.name} {_remembered_sha256(path)}\n".encode())
    return digest.hexdigest()


class _Hashed(Struct, frozen=True):
    """What a file was when it was hashed."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str


def _remembered_sha256(path: Path) -> str:
    # Hashing 15 GB takes a minute: remember it as long as size and time of change stay.
    real = path.resolve()
    before = real.stat()
    key = (str(real), before.st_size, before.st_mtime_ns)
    memory = cache_folder() / "hashes" / f"{content_id(str(real))}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        known = msgspec.json.decode(memory.read_bytes(), type=_Hashed)
        if (known.path, known.size_bytes, known.modified_ns) == key:
            return known.sha256
    found = sha256_of(real)
    write_json(memory, _Hashed(*key, found))
    return found


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
