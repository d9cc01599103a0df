"""Writes random weights in the exact shape of a known model to the disk, layer by layer.

To measure what a model costs, not what it answers. bfloat16 with one file a layer, so that only one
layer is in memory at a time.

    venv/bin/python benchmarks/shapes.py Qwen/Qwen2.5-Coder-7B-Instruct FOLDER [--layers N]
"""

import argparse
import json
import sys
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file

from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.train.engine.fast.shape import DecoderShape, shape_of
from journeyman.train.engine.fast.weights import RandomWeights
from journeyman.train.forecast.base_model import known_shape

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def write_shape(name: str, folder: Path, *, layers: int | None = None) -> BaseModel:
    """A folder in the hub's layout, without a tokenizer; written only if it does not exist."""
    config = known_shape(name).config
    if layers is not None:
        config.num_hidden_layers = layers
        config.layer_types = None
    base = base_in(name, folder)
    if (folder / "config.json").is_file():
        if shape_of(read_config(folder)) != shape_of(config):
            raise SystemExit(f"error: `{folder}` holds another shape; remove it, or name another")
        return base
    folder.mkdir(parents=True, exist_ok=True)
    shape = shape_of(config)
    source = RandomWeights(shape, biases=shape.family == "qwen2")
    weight_map: dict[str, str] = {}
    for file, names in _files(shape):
        present = [one for one in names if one in source]
        save_file(
            {one: source.tensor(one) for one in present}, folder / file, metadata={"format": "pt"}
        )
        weight_map |= dict.fromkeys(present, file)
        print(f"{file}: {len(present)} tensors", file=sys.stderr)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config.architectures = [type_name(shape)]
    config.save_pretrained(folder)
    return base


def base_in(name: str, folder: Path) -> BaseModel:
    """The base model in a folder, for an engine; its hashes are made up."""
    return BaseModel(name, folder, "a" * 64, "b" * 64, "folder")


def folder_name(name: str, layers: int | None) -> str:
    """The default folder of a shape in `build/`."""
    return name.rsplit("/", 1)[-1] + (f"-{layers}-layers" if layers else "")


def type_name(shape: DecoderShape) -> str:
    """The class that transformers loads."""
    return {"qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama"}[shape.family] + "ForCausalLM"


def _files(shape: DecoderShape) -> list[tuple[str, list[str]]]:
    ends = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    files = [(f"{one.split('.')[-2]}.safetensors", [one]) for one in ends]
    for number in range(shape.layers):
        part = f"model.layers.{number}"
        names = [f"{part}.self_attn.{x}.{kind}" for x in ATTENTION for kind in ("weight", "bias")]
        names += [f"{part}.mlp.{x}.weight" for x in MLP]
        names += [f"{part}.{x}.weight" for x in ("input_layernorm", "post_attention_layernorm")]
        names += [f"{part}.self_attn.{x}.weight" for x in ("q_norm", "k_norm")]
        files.append((f"layer-{number:03}.safetensors", names))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    base = write_shape(arguments.name, arguments.folder, layers=arguments.layers)
    print(msgspec.json.encode(base, enc_hook=str).decode())


if __name__ == "__main__":
    main()
