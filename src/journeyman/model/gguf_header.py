"""The header of a GGUF file: metadata and the list of tensors, read with every count bounded.

A GGUF comes from anywhere and is parsed by C++ later: what does not add up is refused here first.
Promise: memory stays below a few times the header's own size, whatever the file claims.
Not covered: the bytes of the tensors (any bytes are some weights).
(Format: GGUF specification, version 2 and 3, little-endian.)
"""

import mmap
import struct
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from journeyman.errors import IntegrityError, UsageError

Value = int | float | bool | str | list["Value"]

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_TENSORS_LIMIT = 1_000_000
_KEYS_LIMIT = 100_000
_NESTING_LIMIT = 4
_DIMENSIONS_LIMIT = 4


class TensorInfo(Struct, frozen=True):
    """One tensor's name, shape (fastest axis first), ggml type number and size in the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    size_bytes: int


class GgufHeader(Struct, frozen=True):
    """What a GGUF file says about itself."""

    version: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]

    def text(self, key: str, default: str = "") -> str:
        """The text under a key, or the default where there is none."""
        found = self.metadata.get(key, default)
        return found if isinstance(found, str) else default

    def texts(self, key: str) -> list[str]:
        """The list of texts under a key, empty where there is none."""
        found = self.metadata.get(key, [])
        return [x for x in found if isinstance(x, str)] if isinstance(found, list) else []

    def integer(self, key: str) -> int | None:
        """The whole number under a key, or None."""
        found = self.metadata.get(key)
        return found if isinstance(found, int) and not isinstance(found, bool) else None


def read_header(path: Path) -> GgufHeader:
    """Read and check a header. Raises IntegrityError that says what does not add up, and where."""
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path of the GGUF file")
    if path.stat().st_size < 24:
        _damaged(path, "it is shorter than a header")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(path, data).header()


def _damaged(path: Path, what: str) -> NoReturn:
    raise IntegrityError(
        f"`{path}` is not a whole GGUF file: {what}",
        hint="download or make the file again, and compare its sha256",
    )


class _Reader:
    """A place in a file, and the checks that keep it inside."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.at = 0

    def header(self) -> GgufHeader:
        if self.data[:4] != b"GGUF":
            _damaged(self.path, "it does not begin with `GGUF`")
        self.at = 4
        version = self.number("<I")
        if version not in (2, 3):
            _damaged(self.path, f"version {version} is not known (2 and 3 are)")
        tensors = self.count("<Q", _TENSORS_LIMIT, "tensors")
        keys = self.count("<Q", _KEYS_LIMIT, "metadata keys")
        metadata: dict[str, Value] = {}
        for _ in range(keys):
            key = self.string()
            if key in metadata:
                _damaged(self.path, f"the key `{key}` stands there twice")
            metadata[key] = self.value(self.number("<I"), 0)
        return GgufHeader(int(version), metadata, self.tensors(tensors, metadata))

    def tensors(self, count: int, metadata: dict[str, Value]) -> tuple[TensorInfo, ...]:
        found, starts = [], []
        for _ in range(count):
            info, start = self.tensor()
            found.append(info)
            starts.append(start)
        if len({info.name for info in found}) != count:
            _damaged(self.path, "two tensors have the same name")
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
            _damaged(self.path, f"alignment {alignment} is absurd")
        begin = -(-self.at // alignment) * alignment
        for info, start in zip(found, starts, strict=True):
            if begin + start + info.size_bytes > self.size:
                missing = begin + start + info.size_bytes - self.size
                _damaged(self.path, f"the tensor `{info.name}` ends {missing} bytes after the file")
        return tuple(found)

    def tensor(self) -> tuple[TensorInfo, int]:
        name = self.string()
        axes = self.count("<I", _DIMENSIONS_LIMIT, f"axes of `{name}`")
        shape = tuple(self.count("<Q", 2**40, f"entries of `{name}`") for _ in range(axes))
        kind = int(self.number("<I"))
        start = self.count("<Q", self.size, f"bytes before `{name}`")
        return TensorInfo(name, shape, kind, self.tensor_bytes(name, shape, kind)), start

    def tensor_bytes(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        if kind not in set(GGMLQuantizationType):
            _damaged(self.path, f"the tensor `{name}` has the unknown type {kind}")
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        entries = 1
        for axis in shape:
            entries *= axis
        if entries % block:
            _damaged(self.path, f"the tensor `{name}` is no whole number of blocks")
        return int(entries // block * block_bytes)

    def value(self, kind: int | float, depth: int) -> Value:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(depth + 1)
        if kind not in _SCALARS:
            _damaged(self.path, f"a value has the unknown type {kind}")
        return self.number(_SCALARS[int(kind)])

    def array(self, depth: int) -> Value:
        if depth > _NESTING_LIMIT:
            _damaged(self.path, "arrays are nested too deeply")
        kind = int(self.number("<I"))
        # The smallest entry is a byte, so an honest count never exceeds what is left of the file.
        count = self.count("<Q", self.size - self.at, "entries of an array")
        if kind in _SCALARS:
            form = _SCALARS[kind]
            width = struct.calcsize(form)
            raw = self.take(count * width)
            return [one[0] for one in struct.iter_unpack(form, raw)]
        return [self.value(kind, depth) for _ in range(count)]

    def count(self, form: str, limit: int, what: str) -> int:
        found = int(self.number(form))
        if found > limit:
            _damaged(self.path, f"it claims {found} {what}")
        return found

    def number(self, form: str) -> int | float:
        found: int | float = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return found

    def string(self) -> str:
        length = self.count("<Q", self.size - self.at, "bytes of text")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            _damaged(self.path, f"a text before byte {self.at} is not UTF-8")

    def take(self, length: int) -> bytes:
        if length > self.size - self.at:
            _damaged(self.path, f"it ends in the header, at byte {self.size}")
        piece = self.data[self.at : self.at + length]
        self.at += length
        return piece
