"""Whether the base model that is trained is the model that is served or was prepared for.

Compared: names, and the shape of a served GGUF file. Not covered: the weights, because quantised
ones have other hashes. (The forerunner lost 1 h 42 min to a base model that was not served.)
"""

import re
from collections.abc import Iterator
from pathlib import Path

from journeyman.data.dataset import read_metadata
from journeyman.gguf.header import read_gguf_header
from journeyman.train.forecast.records import Finding
from journeyman.train.forecast.shape import ModelShape

_QUANTISATION = r"[-.](i?q\d|[bf]*f16|f32|fp16|fp32)(-[a-z0-9]{1,3})*$"


def served_model_findings(base: str, shape: ModelShape, served: str | None) -> Iterator[Finding]:
    """How the served model differs from the base model. served: None if it is not known."""
    if served is None or same_name(base, served):
        return
    path = Path(served).expanduser()
    reason = f"you serve `{served}`"
    if path.is_file() and path.suffix == ".gguf":
        difference = _difference(path, shape)
        if difference is None:
            return
        reason = f"`{served}` has {difference}"
    yield Finding(
        "other-base",
        "warning",
        f"the adapter is trained on `{base}`, but {reason}: an adapter fits only its own base",
        "give --base the model that you serve, or serve the GGUF that `convert` makes",
    )


def _difference(path: Path, shape: ModelShape) -> str | None:
    header = read_gguf_header(path, architectures=None)
    hidden = header.integer(f"{header.architecture}.embedding_length")
    layers = header.integer(f"{header.architecture}.block_count")
    sizes = {"layers": (layers, shape.layers), "hidden values": (hidden, shape.hidden)}
    differences = [
        f"{there} {name} and the base model {here}"
        for name, (there, here) in sizes.items()
        if there != here
    ]
    return ", ".join(differences) or None


def same_name(left: str, right: str) -> bool:
    """Whether two names mean the same model, without owner, folder, ending and quantisation."""
    return _plain(left) == _plain(right)


def _plain(name: str) -> str:
    words = Path(name).name.casefold().removesuffix(".gguf").replace("_", "-")
    words = re.sub(_QUANTISATION, "", words.removesuffix("-gguf"))
    return re.sub(r"-(instruct|it)\b", "", words)


def dataset_findings(base: str, data_dir: Path) -> Iterator[Finding]:
    """Whether the dataset was prepared for another base model."""
    prepared = read_metadata(data_dir).base
    if prepared and not same_name(prepared, base):
        yield Finding(
            "dataset-base",
            "warning",
            f"the dataset was prepared for `{prepared}` and is trained on `{base}`: its messages "
            "are rendered again, but its limit on tokens was counted with another tokenizer",
            f"run `journeyman prepare --base {base}`, or train with --base {prepared}",
        )
