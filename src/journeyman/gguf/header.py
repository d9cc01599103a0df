"""The header of a GGUF file, read within bounds and checked before anything else reads the file.

Covered: magic, version, counts, lengths, types, names, the shapes and positions of tensors against
the file's size, the architecture against a list, the vocabulary against the embedding. Arrays are
read only on request, so that memory stays small even if the file claims huge ones.
Not covered: the values of weights, and faults in the programs that read them.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.gguf.reader import ARRAY, Cursor, GgufArray, Scalar

MAGIC = b"GGUF"
VERSIONS = (2, 3)
PAIRS_LIMIT = 4096
TENSORS_LIMIT = 65_536
KEY_LIMIT_BYTES = 256
NAME_LIMIT_BYTES = 63
DIMENSIONS_LIMIT = 4

# Architectures that this project's base models can have. Most memory faults of GGUF readers were in
# the loaders of rare architectures, so a file may not choose among all of them.
_ACCEPTED = """
apertus arcee cohere2 command-r deepseek2 ernie4_5 exaone exaone4 falcon gemma gemma2 gemma3 glm4
gpt2 gptneox granite granitemoe hunyuan-dense internlm2 llama mistral3 olmo olmo2 olmoe phi2 phi3
qwen2 qwen2moe qwen3 qwen3moe seed_oss smollm3 stablelm starcoder starcoder2
"""
ARCHITECTURES = frozenset(_ACCEPTED.split())

# type:elements per block:bytes per block, from ggml.h and ggml-common.h of the pinned tree.
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


class GgufHeader(Struct, frozen=True):
    """The header of a GGUF file. `values` are its scalars and texts, `arrays` locate its arrays.

    `tensors` is their number, `parameters` the number of elements in all of them.
    """

    path: Path
    version: int
    architecture: str
    tensors: int
    parameters: int
    size_bytes: int
    values: Mapping[str, Scalar]
    arrays: Mapping[str, GgufArray]

    @property
    def tokens(self) -> int | None:
        """The number of tokens in the vocabulary; None if the file has none."""
        tokens = self.arrays.get("tokenizer.ggml.tokens")
        return tokens.count if tokens else None

    @property
    def context_tokens(self) -> int | None:
        """The context length that the model was made for."""
        return self.integer(f"{self.architecture}.context_length")

    @property
    def chat_template(self) -> str | None:
        """The template that llama.cpp renders conversations with."""
        return self.text("tokenizer.chat_template") or None

    def text(self, key: str) -> str:
        """The text under a key; empty if there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int | None:
        """The integer under a key, or None."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def texts(self, key: str) -> list[str]:
        """The texts of an array, read from the file now; empty if there is none."""
        return [entry for entry in self._entries(key) if isinstance(entry, str)]

    def integers(self, key: str) -> list[int]:
        """The integers of an array, read from the file now; empty if there is none."""
        return [entry for entry in self._entries(key) if isinstance(entry, int)]

    def _entries(self, key: str) -> list[Scalar]:
        array = self.arrays.get(key)
        if array is None:
            return []
        with self.path.open("rb") as stream:
            return Cursor(self.path, stream, array.at).entries(array, key)


class _Tensor(Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    size_bytes: int
    offset: int


def read_gguf_header(
    path: Path,
    *,
    architectures: frozenset[str] | None = ARCHITECTURES,
    has_weights: bool = True,
) -> GgufHeader:
    """Read and check the header of a GGUF file.

    architectures: those accepted; None accepts any. has_weights: False for a file that contains
    only a vocabulary. Raises IntegrityError if the header is invalid, the file is cut off, or the
    architecture is not accepted.
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path of the GGUF file")
    with path.open("rb") as stream:
        return _Reader(path, stream).header(architectures, 1 if has_weights else 0)


class _Reader(Cursor):
    """Reads and checks the fields of the header in their order."""

    def header(self, architectures: frozenset[str] | None, least_tensors: int) -> GgufHeader:
        version, tensors, pairs = self.counts(least_tensors)
        values: dict[str, Scalar] = {}
        arrays: dict[str, GgufArray] = {}
        for _ in range(pairs):
            self.pair(values, arrays)
        architecture = self.architecture(values, architectures)
        alignment = self.alignment(values)
        listed = self.tensors(tensors, alignment)
        self.check_positions(listed, alignment)
        self.check_vocabulary(listed, arrays)
        return GgufHeader(
            path=self.path,
            version=version,
            architecture=architecture,
            tensors=tensors,
            parameters=sum(math.prod(tensor.shape) for tensor in listed.values()),
            size_bytes=self.size,
            values=values,
            arrays=arrays,
        )

    def counts(self, least_tensors: int) -> tuple[int, int, int]:
        if self.take(4, "the magic number") != MAGIC:
            self.refuse("it does not begin with `GGUF`")
        version = self.number("I", "the version")
        if version not in VERSIONS:
            self.refuse(f"version {version} is unknown (known: 2, 3)")
        tensors = self.number("Q", "the number of tensors")
        pairs = self.number("Q", "the number of keys")
        if not least_tensors <= tensors <= TENSORS_LIMIT:
            limits = f"{least_tensors} to {TENSORS_LIMIT}"
            self.refuse(f"it claims {tensors} tensors ({limits} are accepted)")
        if not 1 <= pairs <= PAIRS_LIMIT:
            self.refuse(f"it claims {pairs} keys (1 to {PAIRS_LIMIT} are accepted)")
        return version, tensors, pairs

    def pair(self, values: dict[str, Scalar], arrays: dict[str, GgufArray]) -> None:
        key = self.text(KEY_LIMIT_BYTES, "a key")
        if key in values or key in arrays:
            self.refuse(f"it has the key `{key}` twice")
        kind = self.number("I", f"the type of `{key}`")
        if kind == ARRAY:
            arrays[key] = self.array(key)
        else:
            values[key] = self.scalar(kind, key)

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
        tensors: dict[str, _Tensor] = {}
        expected = 0
        for _ in range(count):
            tensor = self.tensor()
            if tensor.name in tensors:
                self.refuse(f"it has the tensor `{tensor.name}` twice")
            if tensor.offset != expected:
                self.refuse(f"tensor `{tensor.name}` begins at {tensor.offset}, not at {expected}")
            tensors[tensor.name] = tensor
            expected += -(-tensor.size_bytes // alignment) * alignment
        return tensors

    def tensor(self) -> _Tensor:
        name = self.text(NAME_LIMIT_BYTES, "a tensor's name")
        rank = self.number("I", f"the rank of `{name}`")
        if not 1 <= rank <= DIMENSIONS_LIMIT:
            self.refuse(
                f"tensor `{name}` has {rank} dimensions (1 to {DIMENSIONS_LIMIT} are accepted)"
            )
        shape = tuple(self.number("Q", f"the shape of `{name}`") for _ in range(rank))
        kind = self.number("I", f"the type of `{name}`")
        offset = self.number("Q", f"the position of `{name}`")
        if kind not in _BLOCKS:
            self.refuse(f"tensor `{name}` has the unknown type {kind}")
        elements, block_bytes = _BLOCKS[kind]
        if min(shape) < 1 or shape[0] % elements:
            self.refuse(f"tensor `{name}` of type {kind} cannot have the shape {list(shape)}")
        return _Tensor(name, shape, math.prod(shape) // elements * block_bytes, offset)

    def check_positions(self, tensors: Mapping[str, _Tensor], alignment: int) -> None:
        start = -(-self.at // alignment) * alignment
        for tensor in tensors.values():
            end = start + tensor.offset + tensor.size_bytes
            if end > self.size:
                self.refuse(
                    f"tensor `{tensor.name}` ends at byte {end}, the file at {self.size} "
                    "(it is cut off, or its header is wrong)"
                )

    def check_vocabulary(
        self, tensors: Mapping[str, _Tensor], arrays: Mapping[str, GgufArray]
    ) -> None:
        listed = arrays.get("tokenizer.ggml.tokens")
        tokens = listed.count if listed else None
        for key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
            if key in arrays and arrays[key].count != tokens:
                self.refuse(f"`{key}` has {arrays[key].count} entries for {tokens} tokens")
        embedding = tensors.get("token_embd.weight")
        if embedding is None or tokens is None:
            return
        rows = embedding.shape[1] if len(embedding.shape) > 1 else 1
        if rows != tokens:
            self.refuse(f"its vocabulary has {tokens} tokens, its embedding {rows} rows")
