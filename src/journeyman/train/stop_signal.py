"""Stop on request: the first SIGTERM or SIGINT ends after the micro-batch, the second at once.

Before there is anything to save (the model is being loaded) also the first one ends at once.
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
    """Listens for signals while its block runs; outside of the main thread it never hears one.

    patient: whether the first signal is only noted in `asked`, for the block to look at.
    """

    def __init__(self, *, patient: bool = True) -> None:
        self.asked = False
        self.patient = patient
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
        if not self.patient:
            raise Interrupted(
                "stopped before training began", hint="run the same command again to begin"
            )
