"""The rules that need nothing but the row, on all processors: they take most of the time.

Rows go out in batches and come back in their order; a small log is looked at in this process.
Equal rows give equal findings, so it makes no difference who looks. The workers are processes of
their own (`journeyman.prepare.worker`), which whoever calls `prepare` need not prepare for.
"""

import contextlib
import itertools
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from journeyman.errors import MachineError
from journeyman.files import LineFault
from journeyman.prepare.judging import Found, found_in
from journeyman.prepare.worker import receive, send
from journeyman.records import Interaction

Looked = tuple[Interaction, Found] | LineFault

_BATCH = 200
# Processes take a second to start; so many rows take longer in one.
_SMALL = 5000
_WAITING = 3
_FOUND = msgspec.msgpack.Decoder(list[Found])


def looked_at(rows: Iterable[Interaction | LineFault]) -> Iterator[Looked]:
    """Each row with its findings, in order. Memory: some batches of rows for each processor."""
    waiting = iter(rows)
    yield from map(_look, itertools.islice(waiting, _SMALL))
    count = len(os.sched_getaffinity(0))
    head = next(waiting, None)
    if head is None:
        return
    waiting = itertools.chain((head,), waiting)
    if count == 1:
        yield from map(_look, waiting)
        return
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for _ in range(count):
            idle.put(stack.enter_context(_worker()))
        threads = stack.enter_context(ThreadPoolExecutor(count))
        yield from _in_order(threads, idle, waiting, count * _WAITING)


def _in_order(
    threads: ThreadPoolExecutor,
    idle: "queue.SimpleQueue[subprocess.Popen[bytes]]",
    rows: Iterator[Interaction | LineFault],
    limit: int,
) -> Iterator[Looked]:
    sent: deque[tuple[list[Interaction | LineFault], Future[bytes]]] = deque()
    while True:
        while len(sent) < limit and (batch := list(itertools.islice(rows, _BATCH))):
            readable = [row for row in batch if isinstance(row, Interaction)]
            data = msgspec.msgpack.encode(readable)
            sent.append((batch, threads.submit(_ask, idle, data)))
        if not sent:
            return
        batch, future = sent.popleft()
        found = iter(_FOUND.decode(future.result()))
        for row in batch:
            yield row if isinstance(row, LineFault) else (row, next(found))


@contextlib.contextmanager
def _worker() -> Iterator[subprocess.Popen[bytes]]:
    # -P: a file in the user's folder must not be taken for a module.
    command = [sys.executable, "-P", "-m", "journeyman.prepare.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process


def _ask(idle: "queue.SimpleQueue[subprocess.Popen[bytes]]", rows: bytes) -> bytes:
    worker = idle.get()
    try:
        assert worker.stdin is not None
        assert worker.stdout is not None
        send(worker.stdin, rows)
        found = receive(worker.stdout)
    except BrokenPipeError:
        found = None
    finally:
        idle.put(worker)
    if found is None:
        raise MachineError(
            "a process that looks at rows ended before its time",
            hint="check the memory; the same command starts over",
        )
    return found


def _look(row: Interaction | LineFault) -> Looked:
    return row if isinstance(row, LineFault) else (row, found_in(row))
