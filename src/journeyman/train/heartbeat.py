"""Keeps `status.json` true while a run lasts, and watches over it: stalls, and clocks that jump.

A disk that is full must not end a run, so a status that cannot be written is said once and skipped.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from journeyman.errors import Interrupted, JourneymanError
from journeyman.events import Caution, Reporter
from journeyman.train.memory import peak_rss_bytes
from journeyman.train.status import Status, new_status, write_status
from journeyman.train.watchdog import Watchdog

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
