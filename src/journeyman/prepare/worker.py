"""A process that works on batches of rows: rows in on stdin, results out on stdout, until the end.

Both are MessagePack behind four bytes of length. The first argument names the job; the first
message is what the job needs to know.
"""

import signal
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO

import msgspec

_LENGTH_BYTES = 4

LOOK, RENDER = "look", "render"
"""Look at rows with the rules that need one row alone; render rows as the dataset has them."""

Work = Callable[[bytes], bytes]


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


def _look(told: bytes) -> Work:
    from journeyman.prepare.judging import found_in
    from journeyman.records import Interaction

    decoder = msgspec.msgpack.Decoder(list[Interaction])
    scan = msgspec.msgpack.decode(told, type=bool)
    return lambda data: msgspec.msgpack.encode(
        [found_in(row, scan=scan) for row in decoder.decode(data)]
    )


def _render(told: bytes) -> Work:
    from journeyman.prepare.example_rows import Rendering, RowToRender, rendered

    how = msgspec.msgpack.decode(told, type=Rendering)
    decoder = msgspec.msgpack.Decoder(list[RowToRender])
    return lambda data: msgspec.msgpack.encode([rendered(row, how) for row in decoder.decode(data)])


_JOBS: Mapping[str, Callable[[bytes], Work]] = MappingProxyType({LOOK: _look, RENDER: _render})


def main() -> None:
    """Answer until there is nothing more to read."""
    # Who started this process decides when it ends, also after Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = receive(sys.stdin.buffer)
    if told is None:
        return
    work = _JOBS[sys.argv[1]](told)
    while (rows := receive(sys.stdin.buffer)) is not None:
        send(sys.stdout.buffer, work(rows))


if __name__ == "__main__":
    main()
