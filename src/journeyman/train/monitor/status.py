"""`status.json`: what a run is doing, kept up to date by a heartbeat and watched for stalls.

The file lies in the output folder and is replaced after every micro-batch, for other terminals and
for the next start. If it cannot be written (a full disk), the run warns once and goes on. The
watchdog reports a run that hangs, with the stack of every thread, and stops nothing.

Not covered: a power cut, after which the file may be old or empty; a run needs nothing from it to
go on. A C function that hangs and holds the interpreter's lock, because then no Python thread runs.
A suspended process (SIGSTOP) is noticed only when it runs again.
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

# A larger step of the time of day against the clock since boot is reported.
_CLOCK_STEP_S = 60.0

# A micro-batch may take this many times the median of the last ones, and always this long.
STALL_FACTOR = 10.0
STALL_LEAST_S = 600.0
_REMEMBERED_INTERVALS = 128
# The watchdog wakes up this often within the shortest stall.
_CHECKS_A_STALL = 20


class Status(Struct, frozen=True, kw_only=True):
    """What a run is doing. Counts begin at 0; losses are nats a trained token; None: not known.

    `step` and `micro_batch` are finished, `steps` and `micro_batches` are how many there are (the
    latter in the current step). `limit_share` is the throughput as a share (0..1) of what the
    machine can compute. `monotonic_ns` is the clock since boot, which setting the time of day does
    not change.
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


def new_status(state: Phase, *, process_count: int = 1) -> Status:
    """A status of this process, now, with nothing else known."""
    return Status(
        state=state,
        pid=os.getpid(),
        process_count=process_count,
        updated_at=_now(),
        monotonic_ns=time.monotonic_ns(),
    )


def write_status(folder: Path, status: Status) -> None:
    """Replace the folder's `status.json`, stamped with the time; a reader never sees half of it.

    Not synced to the disk: it is written often, and only a power cut could show the difference.
    """
    stamped = replace(status, updated_at=_now(), monotonic_ns=time.monotonic_ns())
    temporary = folder / f".tmp-{STATUS}-{os.getpid()}"
    temporary.write_bytes(msgspec.json.encode(stamped))
    temporary.replace(folder / STATUS)


def read_status(folder: Path) -> Status | None:
    """The folder's status; None if there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / STATUS).read_bytes(), type=Status)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@contextlib.contextmanager
def heartbeat(folder: Path, report: Reporter, *, process_count: int = 1) -> Iterator["Heartbeat"]:
    """The heartbeat of a run while the block runs; the last status says how the block ended."""
    beat = Heartbeat(folder, report, process_count=process_count)
    beat.beat(beat.status)
    try:
        with beat.watchdog:
            yield beat
    except BaseException as error:
        is_stop = isinstance(error, Interrupted | KeyboardInterrupt)
        text = error.message if isinstance(error, JourneymanError) else str(error)
        state = "stopped" if is_stop else "failed"
        beat.end(replace(beat.status, state=state, message=text, eta_s=None))
        raise
    beat.end(replace(beat.status, state="finished", eta_s=0.0))


class Heartbeat:
    """Writes the status of one run. `status` is the last one written."""

    def __init__(self, folder: Path, report: Reporter, *, process_count: int = 1) -> None:
        self.status = new_status("starting", process_count=process_count)
        self.watchdog = Watchdog(folder / "logs", self._report_stall)
        self._folder = folder
        self._report = report
        self._has_warned = False
        self._clock_difference_s = _clock_difference_s()

    def beat(self, status: Status) -> None:
        """Write the status of a run that is alive."""
        self.status = replace(status, rss_bytes=peak_rss_bytes(), message=None)
        self._write()
        self.watchdog.tick()
        self._check_clocks()

    def end(self, status: Status) -> None:
        """Write the last status."""
        self.status = replace(status, rss_bytes=peak_rss_bytes())
        self._write()

    def _write(self) -> None:
        try:
            write_status(self._folder, self.status)
        except OSError as error:
            if not self._has_warned:
                reason = error.strerror or error
                self._report(
                    Caution(f"cannot write `{STATUS}`: {reason}; what it says is out of date")
                )
            self._has_warned = True

    def _report_stall(self, silent_s: float, stacks: Path) -> None:
        text = (
            f"no micro-batch has finished for {silent_s:.0f} s; stacks of all threads: `{stacks}`"
        )
        self.status = replace(self.status, message=text)
        self._write()
        self._report(Caution(text, hint="the run goes on; the stacks show what it is waiting for"))

    def _check_clocks(self) -> None:
        """Report if the time of day was set. Durations come from the clock since boot."""
        step_s = _clock_difference_s() - self._clock_difference_s
        if abs(step_s) > _CLOCK_STEP_S:
            self._clock_difference_s += step_s
            self._report(
                Caution(
                    f"the time of day was set by {step_s:+.0f} s; throughput and time left stay "
                    "right, but time stamps from before and after cannot be compared"
                )
            )


class SilentHeartbeat(Heartbeat):
    """The heartbeat of every process but rank 0, which writes the status for all of them."""

    def __init__(self) -> None:
        self.status = new_status("starting")

    def beat(self, status: Status) -> None:
        """Write nothing."""


def _clock_difference_s() -> float:
    return time.time() - time.monotonic()


class Watchdog:
    """Reports a stall: no `tick` for 10 times the median interval, and for at least 10 minutes.

    on_stall: called once a stall, from another thread, with the seconds since the last tick and the
    file with the stacks. least_s and factor: to make tests short.
    """

    def __init__(
        self,
        folder: Path,
        on_stall: Callable[[float, Path], None],
        *,
        least_s: float = STALL_LEAST_S,
        factor: float = STALL_FACTOR,
    ) -> None:
        self._folder = folder
        self._on_stall = on_stall
        self._least_s = least_s
        self._factor = factor
        self._intervals_s: deque[float] = deque(maxlen=_REMEMBERED_INTERVALS)
        self._last = time.monotonic()
        self._is_reported = False
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
        self._is_reported = False

    @property
    def limit_s(self) -> float:
        """The longest interval that does not count as a stall now."""
        intervals_s = list(self._intervals_s)
        usual_s = statistics.median(intervals_s) if intervals_s else 0.0
        return max(self._least_s, self._factor * usual_s)

    def _watch(self) -> None:
        while not self._ended.wait(self._least_s / _CHECKS_A_STALL):
            silent_s = time.monotonic() - self._last
            if silent_s > self.limit_s and not self._is_reported:
                self._is_reported = True
                self._on_stall(silent_s, self._write_stacks())

    def _write_stacks(self) -> Path:
        """Append the stacks of all threads to `stalls.txt`, with the time since boot."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "stalls.txt"
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"\nno sign of life, monotonic clock {time.monotonic():.0f} s\n")
            stream.flush()
            faulthandler.dump_traceback(stream, all_threads=True)
        return path
