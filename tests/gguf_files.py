"""GGUF files made by hand, a few hundred bytes each, so that every field can be set wrong."""

import struct
from collections.abc import Sequence
from pathlib import Path

TEXT, ARRAY, UINT32, INT32 = 8, 9, 4, 5
F32 = 0


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair_text(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", TEXT) + text(value)


def pair_number(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", UINT32, value)


def pair_texts(key: str, values: Sequence[str], *, count: int | None = None) -> bytes:
    claimed = len(values) if count is None else count
    head = struct.pack("<IIQ", ARRAY, TEXT, claimed)
    return text(key) + head + b"".join(text(value) for value in values)


def pair_integers(key: str, values: Sequence[int]) -> bytes:
    numbers = struct.pack(f"<{len(values)}i", *values)
    return text(key) + struct.pack("<IIQ", ARRAY, INT32, len(values)) + numbers


def tensor(name: str, shape: Sequence[int], *, kind: int = F32, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", kind, offset)


def pairs(architecture: str = "llama", tokens: Sequence[str] = ("a", "b", "c")) -> list[bytes]:
    return [
        pair_text("general.architecture", architecture),
        pair_number("llama.context_length", 64),
        pair_text("tokenizer.chat_template", "{{ messages }}"),
        pair_texts("tokenizer.ggml.tokens", tokens),
    ]


def gguf_bytes(
    keys: Sequence[bytes] | None = None,
    tensors: Sequence[bytes] | None = None,
    *,
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    data_bytes: int = 48,
) -> bytes:
    """A sound file by default: one F32 tensor of 4 x 3 numbers, which take 48 bytes."""
    keys = pairs() if keys is None else keys
    tensors = [tensor("token_embd.weight", (4, 3))] if tensors is None else tensors
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data_bytes)


def write_gguf(path: Path, data: bytes | None = None) -> Path:
    path.write_bytes(gguf_bytes() if data is None else data)
    return path
