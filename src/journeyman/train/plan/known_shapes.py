"""Shapes of models that are often asked for, so that a plan needs no network.

From the config.json that each model's makers publish. Sizes of one family stand together, largest
first: a smaller one is the cheaper alternative.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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
