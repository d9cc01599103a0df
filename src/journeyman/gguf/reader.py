"""Reading the values of a GGUF file from a position on, never past the end of the file.

A length in the file is compared with the bytes left before anything is allocated for it.
(Format: GGUF specification, version 2 and 3, little-endian.)
"""

import struct
from pathlib import Path
from typing import IO, NoReturn

from msgspec import Struct

from journeyman.errors import IntegrityError

TEXT_LIMIT_BYTES = 1024 * 1024
TEXT, ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS[12] = "d"

Scalar = str | int | float | bool


class GgufArray(Struct, frozen=True):
    """An array in its file: the type of its entries, their number, and the first one's position."""

    kind: int
    count: int
    at: int


class Cursor:
    """A position in a file. `size` is the file's size when it was opened, `at` the next byte."""

    def __init__(self, path: Path, stream: IO[bytes], at: int = 0) -> None:
        self.path = path
        self.stream = stream
        self.size = path.stat().st_size
        self.at = at
        stream.seek(at)

    def refuse(self, reason: str) -> NoReturn:
        """Raise IntegrityError that names the file."""
        raise IntegrityError(
            f"`{self.path}` is not a valid GGUF file: {reason}",
            hint="download or make the file again, and compare its sha256; it was not loaded",
        )

    def take(self, count: int, what: str) -> bytes:
        """The next bytes. what: their meaning, for errors."""
        self._require_left(count, what)
        self.at += count
        data = self.stream.read(count)
        if len(data) != count:
            self.refuse(f"it was cut off while it was read, inside {what}")
        return data

    def skip(self, count: int, what: str) -> None:
        """Go past the next bytes without reading them."""
        self._require_left(count, what)
        self.at += count
        self.stream.seek(count, 1)

    def _require_left(self, count: int, what: str) -> None:
        if count > self.size - self.at:
            self.refuse(f"it ends inside {what} at byte {self.at}")

    def number(self, kind: str, what: str) -> int:
        """The next integer. kind: its letter in `struct`."""
        layout = "<" + kind
        return int(struct.unpack(layout, self.take(struct.calcsize(layout), what))[0])

    def text(self, limit: int, what: str) -> str:
        """The next text, of at most `limit` bytes."""
        length = self.number("Q", what)
        if length > limit:
            self.refuse(f"{what} is {length} bytes long, more than {limit}")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"{what} is not UTF-8")

    def scalar(self, kind: int, key: str) -> Scalar:
        """The next value, which is not an array."""
        if kind == TEXT:
            return self.text(TEXT_LIMIT_BYTES, f"`{key}`")
        if kind not in _SCALARS:
            self.refuse(f"`{key}` has the unknown type {kind}")
        layout = "<" + _SCALARS[kind]
        value: Scalar = struct.unpack(layout, self.take(struct.calcsize(layout), f"`{key}`"))[0]
        return value

    def array(self, key: str) -> GgufArray:
        """Check the next array and go past it; its entries stay in the file."""
        kind = self.number("I", f"the element type of `{key}`")
        count = self.number("Q", f"the length of `{key}`")
        array = GgufArray(kind, count, self.at)
        if kind in _SCALARS:
            self.skip(count * struct.calcsize("<" + _SCALARS[kind]), f"`{key}`")
        elif kind == TEXT:
            # Each text takes at least 8 bytes, so a huge count is refused before the loop.
            if count * 8 > self.size - self.at:
                self.refuse(f"`{key}` claims {count} texts, more than the file can hold")
            for _ in range(count):
                length = self.number("Q", f"`{key}`")
                if length > TEXT_LIMIT_BYTES:
                    self.refuse(f"a text in `{key}` is {length} bytes long")
                self.take(length, f"`{key}`")
        else:
            self.refuse(f"`{key}` is an array of the unknown type {kind}")
        return array

    def entries(self, array: GgufArray, key: str) -> list[Scalar]:
        """The entries of an array, whose first one is at the cursor."""
        if array.kind == TEXT:
            return [self.text(TEXT_LIMIT_BYTES, f"a text in `{key}`") for _ in range(array.count)]
        layout = "<" + _SCALARS[array.kind]
        raw = self.take(array.count * struct.calcsize(layout), f"`{key}`")
        return [entry[0] for entry in struct.iter_unpack(layout, raw)]
