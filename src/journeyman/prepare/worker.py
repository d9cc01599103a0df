"""A process that looks at batches of rows: rows in on stdin, findings out on stdout, until the end.

Both are MessagePack behind four bytes of length.
"""

import signal
import sys
from typing import IO

import msgspec

_LENGTH_BYTES = 4


def send(stream: IO[bytes], data: bytes) -> None:
    """Write one message."""
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Read one message, or None at the end of the stream."""
    head = stream.read(_LENGTH_BYTES)
    size = int.from_bytes(head, "big")
    data = stream.read(size) if len(head) == _LENGTH_BYTES else b""
    return data if len(head) == _LENGTH_BYTES and len(data) == size else None


def main() -> None:
    """Answer until there is nothing more to read."""
    from journeyman.prepare.judging import found_in
    from journeyman.records import Interaction

    # Who started this process decides when it ends, also after Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    decoder = msgspec.msgpack.Decoder(list[Interaction])
    while (rows := receive(sys.stdin.buffer)) is not None:
        send(sys.stdout.buffer, msgspec.msgpack.encode([found_in(x) for x in decoder.decode(rows)]))


if __name__ == "__main__":
    main()
