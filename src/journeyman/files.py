"""Files: strict JSONL in, atomic writes out, and hashes of both.

Promise: a file or folder under its final name is complete. Until then it is called `.tmp-…` and
lies in the same folder, so that the last step is one rename within a filesystem.
Not covered: locking (see `journeyman.runs`).
"""

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar

import msgspec
from msgspec import Struct

from journeyman.errors import MachineError, UsageError
from journeyman.formatting import byte_size
from journeyman.machine.disk import free_bytes

LINE_LIMIT_BYTES = 4 * 1024 * 1024
"""A longer line is refused without reading all of it (fault 37 of the reliability table)."""

NESTING_LIMIT = 64

T = TypeVar("T")


class NumberedLine(Struct, frozen=True):
    """A line of a file: its number from 1, and its bytes without the line end."""

    line: int
    data: bytes


class LineFault(Struct, frozen=True):
    """A line that cannot be used: its number from 1, and the reason.

    `torn`: it is the last line of the file and its writer stopped in the middle.
    """

    line: int
    reason: str
    torn: bool = False


def sha256_of(path: Path) -> str:
    """Hex sha256 of one file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_id(*parts: str) -> str:
    """An id of 16 hex digits for a list of texts: the same for the same texts, on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def read_lines(path: Path) -> Iterator[NumberedLine | LineFault]:
    """The lines of a UTF-8 JSONL file one by one, without blank ones; a bad line is a LineFault.

    A byte order mark is skipped and CRLF counts as LF. No more than one line is held in memory.
    Raises UsageError if the file is missing or is UTF-16.
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path")
    with path.open("rb") as stream:
        head = stream.read(3)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UsageError(
                f"`{path}` is UTF-16, not UTF-8",
                hint=f"convert it: iconv -f UTF-16 -t UTF-8 {path.name} > utf8.jsonl",
            )
        stream.seek(3 if head == b"\xef\xbb\xbf" else 0)
        yield from _split(stream)


def _split(stream: IO[bytes]) -> Iterator[NumberedLine | LineFault]:
    number = 0
    while piece := stream.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        if len(piece) > LINE_LIMIT_BYTES:
            while piece and not piece.endswith(b"\n"):
                piece = stream.readline(LINE_LIMIT_BYTES)
            yield LineFault(number, f"longer than {LINE_LIMIT_BYTES // 1024**2} MiB")
            continue
        text = piece.strip(b" \t\r\n")
        if not text:
            continue
        yield checked_row(number, text, complete=piece.endswith(b"\n"))


def checked_row(number: int, text: bytes, *, complete: bool = True) -> NumberedLine | LineFault:
    """The line, if it is UTF-8 without NUL and not nested too deeply; else its fault."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return LineFault(number, f"not UTF-8 at byte {error.start}")
    if b"\x00" in text:
        return LineFault(number, "holds a NUL byte")
    if not complete and not text.endswith((b"}", b"]")):
        return LineFault(number, "half-written: the file ends in the middle of this line")
    if text.count(b"[") + text.count(b"{") > NESTING_LIMIT and _depth(text) > NESTING_LIMIT:
        return LineFault(number, f"nested deeper than {NESTING_LIMIT} levels")
    return NumberedLine(number, text)


def _depth(text: bytes) -> int:
    """Deepest nesting of brackets outside strings; stops counting just above the limit."""
    depth = deepest = 0
    inside = escaped = False
    for byte in text:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > NESTING_LIMIT:
                return deepest
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return deepest


def read_records(path: Path, kind: type[T]) -> Iterator[T | LineFault]:
    """The records of a JSONL file written by this project, each checked against its type."""
    decoder = msgspec.json.Decoder(kind)
    for row in read_lines(path):
        if isinstance(row, LineFault):
            yield row
            continue
        try:
            yield decoder.decode(row.data)
        except msgspec.DecodeError as error:
            yield LineFault(row.line, str(error))


def write_records(path: Path, records: Iterable[Struct]) -> int:
    """Write records as a JSONL file, completely or not at all. Gives their number."""
    encoder = msgspec.json.Encoder()
    count = 0
    with atomic_file(path) as stream:
        for record in records:
            stream.write(encoder.encode(record) + b"\n")
            count += 1
    return count


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, completely or not at all."""
    with atomic_file(path) as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, completely or not at all."""
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8"))


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A stream that becomes `path` when the block succeeds, and leaves nothing when it fails.

    The bytes reach the disk before the name does (fsync the file, rename, fsync the folder).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex[:8]}"
        with temporary.open("wb") as stream:
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise MachineError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="check the free space and the permissions of the folder",
        ) from error


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill that becomes `path` when the block succeeds, and is removed when it fails.

    replace: move an existing folder of that name aside first, and remove it last.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        sync_folder(temporary)
        _publish(temporary, path, replace=replace)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _publish(temporary: Path, path: Path, *, replace: bool) -> None:
    old = None
    if replace and path.exists():
        old = path.parent / f".tmp-{path.name}-old-{uuid.uuid4().hex[:8]}"
        path.rename(old)
    temporary.rename(path)
    sync_folder(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Write the names in a folder to the disk, so that they survive a power cut (fsync)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise MachineError if the disk of a folder, existing or not, has too little space left."""
    available_bytes = free_bytes(folder)
    if available_bytes < needed_bytes:
        raise MachineError(
            f"{purpose} needs {byte_size(needed_bytes)} in `{folder}`, "
            f"only {byte_size(available_bytes)} are free",
            hint="free some space, or use a folder on a larger disk",
        )
