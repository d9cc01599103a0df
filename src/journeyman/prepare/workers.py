"""Row by row work on all processors: it takes most of the time of `prepare`.

Rows go out in batches and come back in order; a small log is done in this process. The result does
not depend on who does the work. Workers are processes (`python -m journeyman.prepare.workers`) that
read rows on stdin and write results to stdout until the end. Messages are MessagePack after four
bytes of length: first what the job needs to know, then batches.
"""

import contextlib
import itertools
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import IO, TypeVar

import msgspec

from journeyman.errors import DataRefused, MachineError
from journeyman.files import LineFault
from journeyman.machine.processor import usable_processors
from journeyman.prepare.example_rows import Rendering, rendered
from journeyman.prepare.framing import read_message, write_message
from journeyman.prepare.row_findings import ExaminedLine, examined_line
from journeyman.records import Interaction

_BATCH = 200

# Starting processes takes a second; in one process this many rows take longer.
_SMALL = 5000

_WAITING = 3

_EXAMINED = msgspec.msgpack.Decoder(list[ExaminedLine])

_RENDERED = msgspec.msgpack.Decoder(list[tuple[bytes, int]])

_REFUSAL = msgspec.msgpack.Decoder(tuple[str, str])

Item = TypeVar("Item")


def examined_lines(
    rows: Iterable[Interaction | LineFault], *, scan: bool = False
) -> Iterator[tuple[Interaction | None, ExaminedLine]]:
    """Each row with its examined line, in order; the row is None if it could not be read.

    Memory: a few batches of rows for each processor. scan: see `row_findings.examined_line`.
    """

    def here(row: Interaction | LineFault) -> tuple[Interaction | None, ExaminedLine]:
        if isinstance(row, LineFault):
            return _unreadable(row)
        return row, examined_line(row, scan=scan)

    def pack(batch: Sequence[Interaction | LineFault]) -> bytes:
        return msgspec.msgpack.encode([row for row in batch if isinstance(row, Interaction)])

    waiting = iter(rows)
    yield from map(here, _done_here(waiting))
    for batch, data in _answered(EXAMINE, msgspec.msgpack.encode(scan), waiting, pack):
        lines = iter(_EXAMINED.decode(data))
        for row in batch:
            yield _unreadable(row) if isinstance(row, LineFault) else (row, next(lines))


def _unreadable(fault: LineFault) -> tuple[None, ExaminedLine]:
    return None, ExaminedLine(fault.line, fault=fault.reason, torn=fault.torn)


def rendered_rows(
    rows: Iterable[tuple[bytes, ExaminedLine]], how: Rendering
) -> Iterator[tuple[bytes, int]]:
    """The result of `rendered` for each row, in order. rows: Interactions as MessagePack.

    Raises DataRefused if the template refuses a row. Memory: as above.
    """
    waiting = iter(rows)
    for interaction, row in _done_here(waiting):
        yield rendered(interaction, row, how)
    for _, data in _answered(RENDER, msgspec.msgpack.encode(how), waiting, msgspec.msgpack.encode):
        yield from _RENDERED.decode(data)


def _done_here(rows: Iterator[Item]) -> Iterator[Item]:
    """The rows that this process does itself: all of them if there is one processor."""
    return rows if usable_processors() == 1 else itertools.islice(rows, _SMALL)


def _answered(
    job: str, facts: bytes, rows: Iterator[Item], pack: Callable[[Sequence[Item]], bytes]
) -> Iterator[tuple[Sequence[Item], bytes]]:
    """Batches of rows, each with a worker's reply; without rows no worker starts."""
    batches = iter(lambda: list(itertools.islice(rows, _BATCH)), [])
    head = next(batches, None)
    if head is None:
        return
    count = usable_processors()
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for _ in range(count):
            idle.put(stack.enter_context(_worker(job, facts)))
        threads = stack.enter_context(ThreadPoolExecutor(count))
        sent: deque[tuple[list[Item], Future[bytes]]] = deque()
        for batch in itertools.chain((head,), batches):
            sent.append((batch, threads.submit(_ask, idle, pack(batch))))
            if len(sent) >= count * _WAITING:
                first, future = sent.popleft()
                yield first, future.result()
        for first, future in sent:
            yield first, future.result()


@contextlib.contextmanager
def _worker(job: str, facts: bytes) -> Iterator[subprocess.Popen[bytes]]:
    # -P: a file in the user's folder must not be imported as a module.
    command = [sys.executable, "-P", "-m", "journeyman.prepare.workers", job]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        # A process that has already ended is noticed at the first batch.
        with contextlib.suppress(BrokenPipeError):
            _send(process.stdin, facts)
        yield process


def _ask(idle: "queue.SimpleQueue[subprocess.Popen[bytes]]", rows: bytes) -> bytes:
    worker = idle.get()
    try:
        assert worker.stdin is not None
        assert worker.stdout is not None
        _send(worker.stdin, rows)
        reply = read_message(worker.stdout)
    except BrokenPipeError:
        reply = None
    finally:
        idle.put(worker)
    if reply is None:
        raise MachineError(
            "a worker process ended unexpectedly",
            hint="check that there is enough free memory, then run the same command again",
        )
    if reply.startswith(_REFUSED):
        message, hint = _REFUSAL.decode(reply[1:])
        raise DataRefused(message, hint=hint)
    return reply[1:]


EXAMINE, RENDER = "examine", "render"
"""Apply the rules that need one row alone; render rows as the dataset has them."""

# The first byte of a reply: results, or a row that the template refuses.
_DONE, _REFUSED = b"\0", b"\1"

Work = Callable[[bytes], bytes]


def _send(stream: IO[bytes], data: bytes) -> None:
    write_message(stream, data)
    stream.flush()


def _examine(facts: bytes) -> Work:
    decoder = msgspec.msgpack.Decoder(list[Interaction])
    scan = msgspec.msgpack.decode(facts, type=bool)
    return lambda data: msgspec.msgpack.encode(
        [examined_line(row, scan=scan) for row in decoder.decode(data)]
    )


def _render(facts: bytes) -> Work:
    how = msgspec.msgpack.decode(facts, type=Rendering)
    decoder = msgspec.msgpack.Decoder(list[tuple[bytes, ExaminedLine]])
    return lambda data: msgspec.msgpack.encode(
        [rendered(interaction, row, how) for interaction, row in decoder.decode(data)]
    )


_JOBS: Mapping[str, Callable[[bytes], Work]] = MappingProxyType(
    {EXAMINE: _examine, RENDER: _render}
)


def main() -> None:
    """Work on batches until stdin ends."""
    # The parent decides when this process ends, also after Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    facts = read_message(sys.stdin.buffer)
    if facts is None:
        return
    work = _JOBS[sys.argv[1]](facts)
    while (rows := read_message(sys.stdin.buffer)) is not None:
        try:
            reply = _DONE + work(rows)
        except DataRefused as error:
            reply = _REFUSED + msgspec.msgpack.encode((error.message, error.hint))
        _send(sys.stdout.buffer, reply)


if __name__ == "__main__":
    main()
