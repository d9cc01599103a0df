"""Messages in a stream of bytes, each after four bytes of length."""

from typing import IO

_LENGTH_BYTES = 4


def write_message(stream: IO[bytes], data: bytes) -> None:
    """Write one message, without flushing."""
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)


def read_message(stream: IO[bytes]) -> bytes | None:
    """Read one message, or None at the end of the stream."""
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(head, "big")
    data = stream.read(size)
    return data if len(data) == size else None
