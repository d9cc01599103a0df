"""What a GGUF file says about itself, read with bounds before llama.cpp may touch it.

Covered: magic, version, counts, lengths, types, tensor shapes and places against the file's size,
names, the architecture against a list, the vocabulary against the embedding. Nothing is allocated
on the word of the file: a length is compared with what is left of the file first.
Not covered: the weights' values, and whether llama.cpp is free of faults of its own.
"""

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from msgspec import Struct

from journeyman.errors import IntegrityError, UsageError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
PAIRS_LIMIT = 4096
TENSORS_LIMIT = 65_536
KEY_LIMIT_BYTES = 256
NAME_LIMIT_BYTES = 63
TEXT_LIMIT_BYTES = 1024 * 1024
DIMENSIONS_LIMIT = 4

# Decoders that this project's base models can have. Loaders of rare architectures are where the
# memory faults of GGUF readers were found, so a file does not get to choose among all of them.
_ACCEPTED = """
apertus arcee cohere2 command-r deepseek2 ernie4_5 exaone exaone4 falcon gemma gemma2 gemma3 glm4
gpt2 gptneox granite granitemoe hunyuan-dense internlm2 llama mistral3 olmo olmo2 olmoe phi2 phi3
qwen2 qwen2moe qwen3 qwen3moe seed_oss smollm3 stablelm starcoder starcoder2
"""
ARCHITECTURES = frozenset(_ACCEPTED.split())

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS[12] = "d"
_TEXT, _ARRAY = 8, 9

# type:elements in a block:bytes of a block, as in ggml.h and ggml-common.h of the pinned tree.
_SIZES = """
0:1:4 1:1:2 2:32:18 3:32:20 6:32:22 7:32:24 8:32:34 9:32:36 10:256:84 11:256:110 12:256:144
13:256:176 14:256:210 15:256:292 16:256:66 17:256:74 18:256:98 19:256:50 20:32:18 21:256:110
22:256:82 23:256:136 24:1:1 25:1:2 26:1:4 27:1:8 28:1:8 29:256:56 30:1:2 34:256:54 35:256:66
39:32:17 40:64:36 41:128:18 42:64:18
"""
_BLOCKS = {
    kind: (elements, size_bytes)
    for kind, elements, size_bytes in (map(int, entry.split(":")) for entry in _SIZES.split())
}

Scalar = str | int | float | bool


class GgufHeader(Struct, frozen=True):
    """The facts of one GGUF file. `values` holds its scalars and texts, `lengths` its arrays'.

    `parameters` counts the elements of all tensors; `tokens` the vocabulary (None where absent).
    """

    version: int
    architecture: str
    tensors: int
    parameters: int
    size_bytes: int
    values: Mapping[str, Scalar]
    lengths: Mapping[str, int]

    @property
    def tokens(self) -> int | None:
        """How many tokens the vocabulary has."""
        return self.lengths.get("tokenizer.ggml.tokens")

    @property
    def context_tokens(self) -> int | None:
        """The context that the model was made for."""
        value = self.values.get(f"{self.architecture}.context_length")
        return value if isinstance(value, int) else None

    @property
    def chat_template(self) -> str | None:
        """The template that llama.cpp will render conversations with."""
        value = self.values.get("tokenizer.chat_template")
        return value if isinstance(value, str) else None


class _Tensor(Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    size_bytes: int
    offset: int


def read_gguf_header(
    path: Path, *, architectures: frozenset[str] | None = ARCHITECTURES
) -> GgufHeader:
    """The header of a GGUF file that is whole and sane.

    architectures: those accepted; None accepts any. Raises IntegrityError where a byte is not what
    it must be, the file is cut off, or the architecture is not accepted.
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path of the GGUF file")
    with path.open("rb") as stream:
        return _Reader(path, stream).header(architectures)


class _Reader:
    """A cursor over the file that never goes past its end."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self.stream = stream
        self.size = path.stat().st_size
        self.at = 0

    def refuse(self, reason: str) -> NoReturn:
        raise IntegrityError(
            f"`{self.path}` is not a sound GGUF file: {reason}",
            hint="make or fetch the file again; it was not given to llama.cpp",
        )

    def take(self, count: int, what: str) -> bytes:
        if count > self.size - self.at:
            self.refuse(f"it ends inside {what} at byte {self.at}")
        self.at += count
        data = self.stream.read(count)
        if len(data) != count:
            self.refuse(f"it was cut off while it was read, inside {what}")
        return data

    def skip(self, count: int, what: str) -> None:
        if count > self.size - self.at:
            self.refuse(f"it ends inside {what} at byte {self.at}")
        self.at += count
        self.stream.seek(count, 1)

    def number(self, kind: str, what: str) -> int:
        layout = "<" + kind
        return int(struct.unpack(layout, self.take(struct.calcsize(layout), what))[0])

    def text(self, limit: int, what: str) -> str:
        length = self.number("Q", what)
        if length > limit:
            self.refuse(f"{what} is {length} bytes long, more than {limit}")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"{what} is not UTF-8")

    def header(self, architectures: frozenset[str] | None) -> GgufHeader:
        version, tensors, pairs = self.counts()
        values: dict[str, Scalar] = {}
        lengths: dict[str, int] = {}
        for _ in range(pairs):
            self.pair(values, lengths)
        architecture = self.architecture(values, architectures)
        alignment = self.alignment(values)
        found = self.tensors(tensors, alignment)
        self.places(found, alignment)
        self.vocabulary(found, lengths)
        return GgufHeader(
            version=version,
            architecture=architecture,
            tensors=tensors,
            parameters=sum(math.prod(tensor.shape) for tensor in found.values()),
            size_bytes=self.size,
            values=values,
            lengths=lengths,
        )

    def counts(self) -> tuple[int, int, int]:
        if self.take(4, "the magic number") != MAGIC:
            self.refuse("it does not begin with `GGUF`")
        version = self.number("I", "the version")
        if version not in VERSIONS:
            self.refuse(f"version {version} is not known (known: 2, 3)")
        tensors = self.number("Q", "the number of tensors")
        pairs = self.number("Q", "the number of keys")
        if not 1 <= tensors <= TENSORS_LIMIT:
            self.refuse(f"it claims {tensors} tensors (1 to {TENSORS_LIMIT} are accepted)")
        if not 1 <= pairs <= PAIRS_LIMIT:
            self.refuse(f"it claims {pairs} keys (1 to {PAIRS_LIMIT} are accepted)")
        return version, tensors, pairs

    def pair(self, values: dict[str, Scalar], lengths: dict[str, int]) -> None:
        key = self.text(KEY_LIMIT_BYTES, "a key")
        if key in values or key in lengths:
            self.refuse(f"key `{key}` stands there twice")
        kind = self.number("I", f"the type of `{key}`")
        if kind == _ARRAY:
            lengths[key] = self.array(key)
        elif kind == _TEXT:
            values[key] = self.text(TEXT_LIMIT_BYTES, f"`{key}`")
        else:
            values[key] = self.scalar(kind, key)

    def scalar(self, kind: int, key: str) -> Scalar:
        if kind not in _SCALARS:
            self.refuse(f"`{key}` has the unknown type {kind}")
        layout = "<" + _SCALARS[kind]
        value: Scalar = struct.unpack(layout, self.take(struct.calcsize(layout), f"`{key}`"))[0]
        return value

    def array(self, key: str) -> int:
        kind = self.number("I", f"the element type of `{key}`")
        count = self.number("Q", f"the length of `{key}`")
        if kind in _SCALARS:
            self.skip(count * struct.calcsize("<" + _SCALARS[kind]), f"`{key}`")
        elif kind == _TEXT:
            # Each text takes 8 bytes at least: a huge count is refused before it is counted.
            if count * 8 > self.size - self.at:
                self.refuse(f"`{key}` claims {count} texts, more than the file can hold")
            for _ in range(count):
                length = self.number("Q", f"`{key}`")
                if length > TEXT_LIMIT_BYTES:
                    self.refuse(f"a text in `{key}` is {length} bytes long")
                self.take(length, f"`{key}`")
        else:
            self.refuse(f"`{key}` is an array of the unknown type {kind}")
        return count

    def architecture(
        self, values: Mapping[str, Scalar], architectures: frozenset[str] | None
    ) -> str:
        name = values.get("general.architecture")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9._-]{1,64}", name):
            self.refuse("it names no architecture")
        if architectures is not None and name not in architectures:
            self.refuse(
                f"architecture `{name}` is not one of those accepted "
                f"({', '.join(sorted(architectures))})"
            )
        return name

    def alignment(self, values: Mapping[str, Scalar]) -> int:
        value = values.get("general.alignment", 32)
        if not isinstance(value, int) or not 8 <= value <= 65_536 or value & (value - 1):
            self.refuse(f"its alignment is {value!r}, not a power of two from 8 to 65536")
        return value

    def tensors(self, count: int, alignment: int) -> dict[str, _Tensor]:
        found: dict[str, _Tensor] = {}
        expected = 0
        for _ in range(count):
            tensor = self.tensor()
            if tensor.name in found:
                self.refuse(f"tensor `{tensor.name}` stands there twice")
            if tensor.offset != expected:
                self.refuse(f"tensor `{tensor.name}` begins at {tensor.offset}, not at {expected}")
            found[tensor.name] = tensor
            expected += -(-tensor.size_bytes // alignment) * alignment
        return found

    def tensor(self) -> _Tensor:
        name = self.text(NAME_LIMIT_BYTES, "a tensor's name")
        rank = self.number("I", f"the rank of `{name}`")
        if not 1 <= rank <= DIMENSIONS_LIMIT:
            self.refuse(f"tensor `{name}` has {rank} dimensions (1 to {DIMENSIONS_LIMIT} can be)")
        shape = tuple(self.number("Q", f"the shape of `{name}`") for _ in range(rank))
        kind = self.number("I", f"the type of `{name}`")
        offset = self.number("Q", f"the place of `{name}`")
        if kind not in _BLOCKS:
            self.refuse(f"tensor `{name}` has the unknown type {kind}")
        elements, block_bytes = _BLOCKS[kind]
        if min(shape) < 1 or shape[0] % elements:
            self.refuse(f"tensor `{name}` of type {kind} cannot have the shape {list(shape)}")
        return _Tensor(name, shape, math.prod(shape) // elements * block_bytes, offset)

    def places(self, found: Mapping[str, _Tensor], alignment: int) -> None:
        start = -(-self.at // alignment) * alignment
        for tensor in found.values():
            end = start + tensor.offset + tensor.size_bytes
            if end > self.size:
                self.refuse(
                    f"tensor `{tensor.name}` ends at byte {end}, the file at {self.size} "
                    "(it is cut off, or its header is wrong)"
                )

    def vocabulary(self, found: Mapping[str, _Tensor], lengths: Mapping[str, int]) -> None:
        tokens = lengths.get("tokenizer.ggml.tokens")
        for key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
            if key in lengths and lengths[key] != tokens:
                self.refuse(f"`{key}` has {lengths[key]} entries for {tokens} tokens")
        embedding = found.get("token_embd.weight")
        if embedding is None or tokens is None:
            return
        rows = embedding.shape[1] if len(embedding.shape) > 1 else 1
        if rows != tokens:
            self.refuse(f"its vocabulary has {tokens} tokens, its embedding {rows} rows")
