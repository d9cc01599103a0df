"""Notices a run that hangs: writes down where every thread stands, says so, kills nothing.

Not covered: a function in C that hangs and holds the interpreter's lock, because then no thread of
Python runs; a stopped process (SIGSTOP) is noticed as soon as it runs again.
"""

import faulthandler
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

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
