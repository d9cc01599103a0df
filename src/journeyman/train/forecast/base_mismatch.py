"""Is the base that is trained the model that is served? The forerunner lost 1 h 42 min to a no.

Compared: names, and where the served one is a GGUF file or a folder here, its shape. Quantised
weights cannot be compared by hash, so equal shapes with another name are a question, not a fault.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from journeyman.data.dataset import read_metadata
from journeyman.gguf.header import read_gguf_header
from journeyman.train.forecast.records import Finding
from journeyman.train.forecast.shape import ModelShape

_QUANTISATION = r"[-.](i?q\d|[bf]*f16|f32|fp16|fp32)(-[a-z0-9]{1,3})*$"


def of_served(base: str, shape: ModelShape, served: str | None) -> Iterator[Finding]:
    """What the base and the served model differ in; nothing where none was named."""
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
        f"the adapter is trained on `{base}`, and {reason}: an adapter fits its own base alone",
        "give --base the model that you serve, or serve the GGUF that `convert` makes",
    )


def _difference(path: Path, shape: ModelShape) -> str | None:
    header = read_gguf_header(path, architectures=None)
    hidden = header.integer(f"{header.architecture}.embedding_length")
    layers = header.integer(f"{header.architecture}.block_count")
    found = {"layers": (layers, shape.layers), "values a token": (hidden, shape.hidden)}
    different = [
        f"{there} {name} where the base has {here}"
        for name, (there, here) in found.items()
        if there != here
    ]
    return ", ".join(different) or None


def same_name(left: str, right: str) -> bool:
    """Whether two names are of one model: owner, folder, ending and quantisation do not count."""
    return _plain(left) == _plain(right)


def _plain(name: str) -> str:
    words = Path(name).name.casefold().removesuffix(".gguf").replace("_", "-")
    words = re.sub(_QUANTISATION, "", words.removesuffix("-gguf"))
    return re.sub(r"-(instruct|it)\b", "", words)


def of_dataset(base: str, data_dir: Path) -> Iterator[Finding]:
    """Whether the dataset was prepared for another base."""
    prepared = read_metadata(data_dir).base
    if prepared and not same_name(prepared, base):
        yield Finding(
            "dataset-base",
            "warning",
            f"the dataset was prepared for `{prepared}` and is trained on `{base}`: its messages "
            "are rendered anew, its limit on tokens was counted by another tokenizer",
            f"run `journeyman prepare --base {base}`, or train with --base {prepared}",
        )
