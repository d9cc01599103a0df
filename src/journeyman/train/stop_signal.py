"""Stop on request: the first SIGTERM or SIGINT stops after the micro-batch, the second at once.

While the model is loaded there is nothing to save yet, so the first one stops at once, too.
"""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from journeyman.errors import Interrupted
from journeyman.train.state import State

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Interrupted):
    """Stopped on request; parameters, moments and gradients are those of `state`."""

    def __init__(self, state: State) -> None:
        super().__init__(
            "training was stopped on request", hint="run the same command again to go on"
        )
        self.state = state


class StopRequest:
    """Listens for signals while its block runs, if that runs in the main thread.

    deferred: True if the first signal only sets `requested`, which the block checks; False if it
    raises Interrupted at once.
    """

    def __init__(self, *, deferred: bool = True) -> None:
        self.requested = False
        self.deferred = deferred
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
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

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            # No clean-up is needed: files that are only half written are still called `.tmp-…`.
            os._exit(Interrupted.exit_code)
        self.requested = True
        if not self.deferred:
            raise Interrupted(
                "stopped before training began", hint="run the same command again to begin"
            )
