"""The disk: strict JSONL in, atomic writes out, and hashes of both.

Promise: a file or folder under its final name is whole. What is unfinished is called `.tmp-…` and
lies beside its goal, on the same filesystem, so that the last step is one rename.
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
from journeyman.machine.disk import free_bytes

LINE_LIMIT_BYTES = 4 * 1024 * 1024
"""A longer line is refused without being read whole (fault 37 of the reliability table)."""

NESTING_LIMIT = 64

T = TypeVar("T")


class NumberedLine(Struct, frozen=True):
    """A line that was read: its number from 1, and its decoded bytes."""

    line: int
    data: bytes


class LineFault(Struct, frozen=True):
    """A line that could not be read: its number from 1, and what is wrong with it.

    `torn` is True where it is the file's last line and a writer stopped in the middle of it.
    """

    line: int
    reason: str
    torn: bool = False


def sha256_of(path: Path) -> str:
    """Hex sha256 of one file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_id(*parts: str) -> str:
    """A 16-hex-digit id of some texts: equal parts, equal id, on every machine."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def read_lines(path: Path) -> Iterator[NumberedLine | LineFault]:
    """The lines of a UTF-8 JSONL file, one at a time, blank ones left out, faults as data.

    A byte order mark is dropped; CRLF counts as LF. Memory stays below one line of the limit.
    Raises UsageError where the file is missing or is no UTF-8 text at all (UTF-16).
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path, or name another file")
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
    """A row whose bytes are UTF-8 without NUL and not nested beyond the limit, or its fault."""
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
    """Deepest nesting of brackets outside of strings; stops counting soon after the limit."""
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
    """The records of a JSONL file that this project wrote, each checked against its type."""
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
    """Write records as JSONL under a temporary name, then rename. Gives how many."""
    encoder = msgspec.json.Encoder()
    count = 0
    with atomic_file(path) as stream:
        for record in records:
            stream.write(encoder.encode(record) + b"\n")
            count += 1
    return count


def write_json(path: Path, value: object) -> None:
    """One value as indented JSON, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def write_text(path: Path, text: str) -> None:
    """One text as UTF-8, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write(text.encode("utf-8"))


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A stream that becomes `path` when the block ends well, and leaves nothing when it does not.

    The bytes are on the disk before the name is (fsync of the file, rename, fsync of the folder).
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
    """A folder to fill that becomes `path` when the block ends well; else it is removed.

    With `replace`, an existing folder of that name is moved aside first and removed last.
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
    """Make the names in a folder as durable as the bytes behind them."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise MachineError where too little is left on the disk of a folder, existing or not."""
    available_bytes = free_bytes(folder)
    if available_bytes < needed_bytes:
        raise MachineError(
            f"{purpose} needs {needed_bytes / 2**30:.1f} GiB in `{folder}`, "
            f"{available_bytes / 2**30:.1f} GiB are free",
            hint="make room, or name a folder on a larger disk",
        )
