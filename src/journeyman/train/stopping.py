"""Stop on request: the first SIGTERM or SIGINT ends after the micro-batch, the second at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from journeyman.errors import Interrupted

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Listens for signals while its block runs; outside of the main thread it never hears one."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            # At once means without clean-up: whatever is half-written is still called `.tmp-…`.
            os._exit(Interrupted.exit_code)
        self.asked = True

    def check(self) -> None:
        """Raise Interrupted where a stop was asked for."""
        if self.asked:
            raise Interrupted(
                "training was stopped on request", hint="run the same command again to go on"
            )
