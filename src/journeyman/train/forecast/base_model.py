"""A base model without its weights: its config, and its tokenizer and template if possible.

Nothing large is read or downloaded. Of a hub model that is not in the cache, the small files are
downloaded; without a network, the shape of a well-known model is in the table below, and its tokens
are estimated.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from journeyman.errors import UpstreamError, UsageError
from journeyman.events import Note, Reporter
from journeyman.gguf.header import GgufHeader, read_gguf_header
from journeyman.model.base import read_config, require_hub_name
from journeyman.model.chat import Chat, load_chat
from journeyman.model.embedded import NAME as EMBEDDED
from journeyman.model.embedded import embedded_gguf
from journeyman.model.folder_checks import check_folder, find_faults
from journeyman.model.gguf_tokenizer import write_tokenizer
from journeyman.model.hub import cached, small_files
from journeyman.model.weight_files import weight_files
from journeyman.records import BaseModel
from journeyman.train.forecast.shape import shape_of

# For models that do not say how long their context is.
_CONTEXT_TOKENS = 32768
_GGUF_ARCHITECTURES = ("llama", "qwen2", "qwen3")

# From the config.json of each model's makers, the largest of a family first.
# size: hidden, MLP, layers, heads, KV heads, head width, vocabulary, tied
_QWEN25 = """
32B 5120 27648 64 40 8 128 152064 0
14B 5120 13824 48 40 8 128 152064 0
7B 3584 18944 28 28 4 128 152064 0
3B 2048 11008 36 16 2 128 151936 1
1.5B 1536 8960 28 12 2 128 151936 1
0.5B 896 4864 24 14 2 64 151936 1
"""
_QWEN3 = """
32B 5120 25600 64 64 8 128 151936 0
14B 5120 17408 40 40 8 128 151936 0
8B 4096 12288 36 32 8 128 151936 0
4B 2560 9728 36 32 8 128 151936 1
1.7B 2048 6144 28 16 8 128 151936 1
0.6B 1024 3072 28 16 8 128 151936 1
"""
_SMOLLM2 = """
1.7B 2048 8192 24 32 32 64 49152 1
360M 960 2560 32 15 5 64 49152 1
135M 576 1536 30 9 3 64 49152 1
"""
_FAMILIES = (
    ("Qwen/Qwen2.5-Coder-", "-Instruct", "qwen2", _QWEN25),
    ("Qwen/Qwen2.5-", "-Instruct", "qwen2", _QWEN25),
    ("Qwen/Qwen3-", "", "qwen3", _QWEN3),
    ("HuggingFaceTB/SmolLM2-", "-Instruct", "llama", _SMOLLM2),
)
_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "tie_word_embeddings",
)


def _known_configs() -> dict[str, dict[str, Any]]:
    configs = {}
    for start, end, model_type, sizes in _FAMILIES:
        for line in sizes.strip().splitlines():
            size, *numbers = line.split()
            values: dict[str, Any] = dict(zip(_FIELDS, map(int, numbers), strict=True))
            values["tie_word_embeddings"] = bool(values["tie_word_embeddings"])
            configs[f"{start}{size}{end}"] = {"model_type": model_type, **values}
    return configs


KNOWN: Mapping[str, dict[str, Any]] = MappingProxyType(_known_configs())
"""The config of each well-known model, by its name on the hub."""


class BaseDescription(Struct, frozen=True):
    """What a forecast needs of a base model.

    chat: None without a tokenizer. weight_bytes: None if the weights must be downloaded.
    """

    name: str
    config: Any
    chat: Chat | None
    weight_bytes: int | None


@contextlib.contextmanager
def describe_base(name: str, report: Reporter) -> Iterator[BaseDescription]:
    """The base model of that name: a GGUF file, a folder, or a hub model.

    The tokenizer of a GGUF file is written to a folder that is deleted when the block ends.
    """
    path = Path(name).expanduser()
    if name == EMBEDDED or (path.is_file() and path.suffix == ".gguf"):
        gguf = embedded_gguf() if name == EMBEDDED else path
        with tempfile.TemporaryDirectory(prefix="journeyman-plan-") as folder:
            yield _describe_gguf(gguf, name, Path(folder))
        return
    if path.is_dir():
        check_folder(path, name)
        yield describe_folder(name, path.resolve())
        return
    require_hub_name(name)
    in_cache = cached(name)
    if in_cache is not None:
        yield describe_folder(name, in_cache)
    else:
        yield _describe_uncached(name, report)


def describe_folder(name: str, folder: Path) -> BaseDescription:
    """A folder in the hub's layout, with or without weights."""
    config = read_config(folder)
    # A cache may have only the small files, or only some of the shards.
    is_whole = not any("missing" in fault or "no `*" in fault for fault in find_faults(folder))
    size_bytes = sum(file.stat().st_size for file in weight_files(folder)) if is_whole else None
    return BaseDescription(name, config, _chat(name, folder), size_bytes)


def _describe_uncached(name: str, report: Reporter) -> BaseDescription:
    """A hub model that is not in the cache: from its small files, else from the table."""
    try:
        folder = small_files(name)
    except UpstreamError:
        if name not in KNOWN:
            raise
        report(Note(f"`{name}` is not in the cache: its shape is known, its tokens are estimated"))
        return known_shape(name)
    base = describe_folder(name, folder)
    return BaseDescription(name, base.config, base.chat, None)


def _describe_gguf(gguf: Path, name: str, folder: Path) -> BaseDescription:
    header = read_gguf_header(gguf, architectures=None)
    write_tokenizer(header, folder, name=name)
    config = _config_of_gguf(header)
    # Training dequantises the weights to float32.
    return BaseDescription(name, config, _chat(name, folder), 4 * header.parameters)


def _chat(name: str, folder: Path) -> Chat:
    return load_chat(BaseModel(name, folder, sha256="", template_sha256="", kind="folder"))


def _config_of_gguf(header: GgufHeader) -> Any:
    """The transformers config of a GGUF file. Raises UsageError for other architectures."""
    from transformers import AutoConfig

    kind = header.architecture
    if kind not in _GGUF_ARCHITECTURES:
        raise UsageError(
            f"`{header.path}` has the architecture `{kind}`; supported are "
            f"{', '.join(_GGUF_ARCHITECTURES)}",
            hint="use the model's folder in the Hugging Face layout",
        )

    def number(key: str) -> int:
        value = header.integer(f"{kind}.{key}")
        if value is None:
            raise UsageError(f"`{header.path}` has no `{kind}.{key}`", hint="convert it again")
        return value

    hidden, heads = number("embedding_length"), number("attention.head_count")
    config = AutoConfig.for_model(
        kind,
        hidden_size=hidden,
        intermediate_size=number("feed_forward_length"),
        num_hidden_layers=number("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=header.integer(f"{kind}.attention.head_count_kv") or heads,
        head_dim=header.integer(f"{kind}.attention.key_length") or hidden // heads,
        vocab_size=header.tokens or 0,
        max_position_embeddings=header.context_tokens or _CONTEXT_TOKENS,
        tie_word_embeddings=True,
    )
    # No key says whether the output layer is tied; if it is not, the file has more parameters.
    more = header.parameters - shape_of(config).parameters
    config.tie_word_embeddings = more < hidden * config.vocab_size // 2
    return config


def known_shape(name: str) -> BaseDescription:
    """A well-known model, without a tokenizer."""
    from transformers import AutoConfig

    values = {**KNOWN[name], "max_position_embeddings": _CONTEXT_TOKENS}
    return BaseDescription(name, AutoConfig.for_model(**values), None, None)


def smaller_siblings(name: str) -> tuple[str, ...]:
    """The smaller well-known models of the same family, the largest first."""
    for start, end, _, sizes in _FAMILIES:
        names = [f"{start}{line.split()[0]}{end}" for line in sizes.strip().splitlines()]
        if name in names:
            return tuple(names[names.index(name) + 1 :])
    return ()
