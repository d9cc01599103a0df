"""`status.json`: the heartbeat of a run, for other terminals and for the next start.

One file in the output folder, replaced after every micro-batch. Not covered: a power cut, after
which it may be old or empty; nothing that a run needs to go on stands in it.

Keeps `status.json` true while a run lasts, and watches over it: stalls, and clocks that jump.

A disk that is full must not end a run, so a status that cannot be written is said once and skipped.

Notices a run that hangs: writes down where every thread stands, says so, kills nothing.

Not covered: a function in C that hangs and holds the interpreter's lock, because then no thread of
Python runs; a stopped process (SIGSTOP) is noticed as soon as it runs again.
"""

import contextlib
import datetime
import faulthandler
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import Interrupted, JourneymanError
from journeyman.events import Caution, Reporter
from journeyman.machine.process_memory import peak_rss_bytes

STATUS = "status.json"

Phase = Literal["starting", "training", "validating", "saving", "stopped", "finished", "failed"]


class Status(Struct, frozen=True, kw_only=True):
    """What a run is doing. Counts begin at 0; losses in nats a trained token; None: not known.

    `step` and `micro_batch` are what is done, `steps` and `micro_batches` how many there are (the
    latter in the step in hand). `limit_share` is the share of what the machine can compute, 0..1.
    `monotonic_ns` is the clock since boot: differences hold also where somebody sets the clock.
    """

    state: Phase
    pid: int
    process_count: int = 1
    step: int | None = None
    steps: int | None = None
    micro_batch: int | None = None
    micro_batches: int | None = None
    epoch: int | None = None
    tokens_done: int | None = None
    tokens_total: int | None = None
    tokens_per_s: float | None = None
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    rss_bytes: int | None = None
    eta_s: float | None = None
    limit_share: float | None = None
    updated_at: str
    monotonic_ns: int
    message: str | None = None


def new_status(state: Phase, *, process_count: int = 1, message: str | None = None) -> Status:
    """A status of this process at this moment, with nothing else known."""
    return Status(
        state=state,
        pid=os.getpid(),
        process_count=process_count,
        updated_at=_now(),
        monotonic_ns=time.monotonic_ns(),
        message=message,
    )


def write_status(folder: Path, status: Status) -> None:
    """Replace the folder's `status.json`, stamped with this moment; a reader never sees half.

    Not synced to the disk: it is written often, and only a power cut could show the difference.
    """
    stamped = msgspec.structs.replace(status, updated_at=_now(), monotonic_ns=time.monotonic_ns())
    temporary = folder / f".tmp-{STATUS}-{os.getpid()}"
    temporary.write_bytes(msgspec.json.encode(stamped))
    temporary.replace(folder / STATUS)


def read_status(folder: Path) -> Status | None:
    """The folder's status; None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / STATUS).read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


_JUMP_S = 60.0


class Heartbeat:
    """The status of one run. `status` is the last one; `beat` takes the next."""

    def __init__(self, folder: Path, report: Reporter, *, process_count: int = 1) -> None:
        self.status = new_status("starting", process_count=process_count)
        self._folder = folder
        self._report = report
        self._told = False
        self._clocks_apart_s = _clocks_apart_s()
        self._watchdog = Watchdog(folder / "logs", self._stalled)

    def beat(self, status: Status) -> None:
        """Write a status; the run is alive."""
        self.status = replace(status, rss_bytes=peak_rss_bytes(), message=None)
        self._write()
        self._watchdog.tick()
        self._look_at_clocks()

    def end(self, status: Status) -> None:
        """Write the last status."""
        self.status = replace(status, rss_bytes=peak_rss_bytes())
        self._write()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look for stalls while the block runs."""
        with self._watchdog:
            yield

    def _write(self) -> None:
        try:
            write_status(self._folder, self.status)
        except OSError as error:
            if not self._told:
                reason = error.strerror or error
                self._report(Caution(f"`status.json` cannot be written ({reason}); it is old now"))
            self._told = True

    def _stalled(self, silent_s: float, stacks: Path) -> None:
        text = f"no micro-batch ended for {silent_s:.0f} s; where each thread stands: `{stacks}`"
        self.status = replace(self.status, message=text)
        self._write()
        self._report(Caution(text, hint="the run was not stopped; see what it waits for"))

    def _look_at_clocks(self) -> None:
        """Durations come from the clock since boot; a jump only spoils the time of day."""
        jump_s = _clocks_apart_s() - self._clocks_apart_s
        if abs(jump_s) > _JUMP_S:
            self._clocks_apart_s += jump_s
            self._report(
                Caution(
                    f"the time of day was set by {jump_s:+.0f} s; rates and the time left are not "
                    "touched, time stamps from before and after do not compare"
                )
            )


class SilentHeartbeat(Heartbeat):
    """The heartbeat of every process but rank 0, which speaks for all of them."""

    def __init__(self) -> None:
        self.status = new_status("starting")

    def beat(self, status: Status) -> None:
        """Write nothing."""


def _clocks_apart_s() -> float:
    return time.time() - time.monotonic()


@contextlib.contextmanager
def heartbeat(folder: Path, report: Reporter, *, process_count: int = 1) -> Iterator[Heartbeat]:
    """A heartbeat for the length of a run, whose last status says how it ended."""
    beating = Heartbeat(folder, report, process_count=process_count)
    beating.beat(beating.status)
    try:
        with beating.watched():
            yield beating
    except BaseException as error:
        is_stop = isinstance(error, Interrupted | KeyboardInterrupt)
        text = error.message if isinstance(error, JourneymanError) else str(error)
        state = "stopped" if is_stop else "failed"
        beating.end(replace(beating.status, state=state, message=text, eta_s=None))
        raise
    beating.end(replace(beating.status, state="finished", eta_s=0.0))


FACTOR = 10.0

LEAST_S = 600.0

_REMEMBERED = 128

_LOOKS = 20


class Watchdog:
    """Between two calls of `tick` may lie 10 times the median, 10 minutes in any case.

    stalled: called with the seconds of silence and the file of the stacks, from another thread,
    once for each silence. least_s and factor are arguments for tests.
    """

    def __init__(
        self,
        folder: Path,
        stalled: Callable[[float, Path], None],
        *,
        least_s: float = LEAST_S,
        factor: float = FACTOR,
    ) -> None:
        self._folder = folder
        self._stalled = stalled
        self._least_s = least_s
        self._factor = factor
        self._intervals_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._last = time.monotonic()
        self._told = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def tick(self) -> None:
        """The run is alive."""
        now = time.monotonic()
        self._intervals_s.append(now - self._last)
        self._last = now
        self._told = False

    @property
    def limit_s(self) -> float:
        """How long a silence may be now."""
        seen = list(self._intervals_s)
        return max(self._least_s, self._factor * statistics.median(seen) if seen else 0.0)

    def _watch(self) -> None:
        while not self._ended.wait(self._least_s / _LOOKS):
            silent_s = time.monotonic() - self._last
            if silent_s > self.limit_s and not self._told:
                self._told = True
                self._stalled(silent_s, self._dump())

    def _dump(self) -> Path:
        """The stacks of all threads, appended to `stalls.txt` with the time since boot."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "stalls.txt"
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"\nno sign of life, monotonic clock {time.monotonic():.0f} s\n")
            stream.flush()
            faulthandler.dump_traceback(stream, all_threads=True)
        return path
