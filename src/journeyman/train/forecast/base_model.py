"""A base model without its weights: config and, where it can be had, tokenizer and template.

Nothing large is read or fetched. A hub model that is not here gives its small files where there is
a network; without one, a well-known model's shape is known and its tokens are estimated.

Shapes of models that are often asked for, so that a plan needs no network.

From the config.json that each model's makers publish. Sizes of one family stand together, largest
first: a smaller one is the cheaper alternative.
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

_CONTEXT = 32768

_GGUF_KINDS = ("llama", "qwen2", "qwen3")


class BaseDescription(Struct, frozen=True):
    """What a plan needs of a base. `chat` is None where there is no tokenizer.

    `weight_bytes` are those of the files on this disk, None where they must be fetched first.
    """

    name: str
    config: Any
    chat: Chat | None
    weight_bytes: int | None


@contextlib.contextmanager
def described(name: str, report: Reporter) -> Iterator[BaseDescription]:
    """The base of that name; the tokenizer of a GGUF file lies in a folder that ends with this."""
    path = Path(name).expanduser()
    if name == EMBEDDED or (path.is_file() and path.suffix == ".gguf"):
        gguf = embedded_gguf() if name == EMBEDDED else path
        with tempfile.TemporaryDirectory(prefix="journeyman-plan-") as folder:
            yield _of_gguf(gguf, name, Path(folder))
        return
    if path.is_dir():
        check_folder(path, name)
        yield of_folder(name, path.resolve())
        return
    require_hub_name(name)
    folder_here = cached(name)
    if folder_here is not None:
        yield of_folder(name, folder_here)
    else:
        yield _absent(name, report)


def of_folder(name: str, folder: Path) -> BaseDescription:
    """A folder in the hub's layout, with weights or without."""
    config = read_config(folder)
    # A cache may hold the small files alone, or some of the shards.
    is_whole = not any("missing" in fault or "no `*" in fault for fault in find_faults(folder))
    size_bytes = sum(file.stat().st_size for file in weight_files(folder)) if is_whole else None
    return BaseDescription(name, config, _chat(name, folder), size_bytes)


def _chat(name: str, folder: Path) -> Chat:
    return load_chat(BaseModel(name, folder, sha256="", template_sha256="", kind="folder"))


def _of_gguf(gguf: Path, name: str, folder: Path) -> BaseDescription:
    header = read_gguf_header(gguf, architectures=None)
    write_tokenizer(header, folder, name=name)
    config = config_of_header(header)
    # It is dequantised to float32 before it is trained.
    return BaseDescription(name, config, _chat(name, folder), 4 * header.parameters)


def config_of_header(header: GgufHeader) -> Any:
    """The config of the module that a GGUF file fills. Raises UsageError for other kinds."""
    from transformers import AutoConfig

    kind = header.architecture
    if kind not in _GGUF_KINDS:
        raise UsageError(
            f"`{header.path}` has the architecture `{kind}`; known are {', '.join(_GGUF_KINDS)}",
            hint="use the model's folder in the Hugging Face layout",
        )

    def number(key: str) -> int:
        found = header.integer(f"{kind}.{key}")
        if found is None:
            raise UsageError(
                f"`{header.path}` does not say its `{kind}.{key}`", hint="make the file again"
            )
        return found

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
        max_position_embeddings=header.context_tokens or _CONTEXT,
        tie_word_embeddings=True,
    )
    # An output layer of its own is in no key of the file, only among its weights.
    beyond = header.parameters - shape_of(config).parameters
    config.tie_word_embeddings = beyond < hidden * config.vocab_size // 2
    return config


def _absent(name: str, report: Reporter) -> BaseDescription:
    """A hub model that is not in the cache: its small files, else what is known of it."""
    try:
        folder = small_files(name)
    except UpstreamError:
        if name not in KNOWN:
            raise
        report(Note(f"{name} is not here: its shape is known, its tokens are estimated"))
        return known_shape(name)
    found = of_folder(name, folder)
    return BaseDescription(name, found.config, found.chat, None)


def known_shape(name: str) -> BaseDescription:
    """A model of the list, without a tokenizer."""
    from transformers import AutoConfig

    values = {**KNOWN[name], "max_position_embeddings": _CONTEXT}
    return BaseDescription(name, AutoConfig.for_model(**values), None, None)


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


def _known() -> dict[str, dict[str, Any]]:
    found = {}
    for start, end, kind, sizes in _FAMILIES:
        for line in sizes.strip().splitlines():
            size, *numbers = line.split()
            values: dict[str, Any] = dict(zip(_FIELDS, map(int, numbers), strict=True))
            values["tie_word_embeddings"] = bool(values["tie_word_embeddings"])
            found[f"{start}{size}{end}"] = {"model_type": kind, **values}
    return found


KNOWN: Mapping[str, dict[str, Any]] = MappingProxyType(_known())


def smaller_siblings(name: str) -> tuple[str, ...]:
    """The known models of the same family that are smaller, the largest of them first."""
    for start, end, _, sizes in _FAMILIES:
        names = [f"{start}{line.split()[0]}{end}" for line in sizes.strip().splitlines()]
        if name in names:
            return tuple(names[names.index(name) + 1 :])
    return ()
