"""How long the rest of a run takes: first as forecast, then as measured, validation included.

Each part (tokens, validations, what is kept after a step) goes from the forecast to this process's
own measurement as soon as there is one; an earlier process may have run on another machine.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator

from journeyman.train.plan.records import TimeForecast


class Pace:
    """Seconds and tokens of one process. looks: the steps that a validation follows."""

    def __init__(
        self,
        *,
        steps: int,
        looks: Collection[int],
        hours: TimeForecast | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._steps = steps
        self._looks = looks
        self._hours = hours
        self._tokens = 0
        self._seconds = 0.0
        self._look_s: float | None = None
        self._kept: list[float] = []

    def trained(self, tokens: int, seconds: float) -> None:
        """One micro-batch of so many real tokens is done."""
        self._tokens += tokens
        self._seconds += seconds

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Measure one validation."""
        started = self._clock()
        yield
        self._look_s = self._clock() - started

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Measure what is written after one step."""
        started = self._clock()
        yield
        self._kept.append(self._clock() - started)

    @property
    def rate(self) -> float:
        """Real tokens a second: measured, else forecast, else 0."""
        if self._seconds:
            return self._tokens / self._seconds
        return self._hours.real_tokens_per_s if self._hours else 0.0

    def remaining_s(self, step: int, tokens: int) -> float | None:
        """Seconds to the end of the run from within a step, with so many real tokens to train."""
        if not self.rate:
            return None
        looks_left = sum(look >= step for look in self._looks)
        steps_left = self._steps - step + 1
        return tokens / self.rate + looks_left * self._one_look_s() + steps_left * self._kept_s()

    def _one_look_s(self) -> float:
        if self._look_s is not None:
            return self._look_s
        return self._hours.validation_s / max(1, len(self._looks)) if self._hours else 0.0

    def _kept_s(self) -> float:
        if self._kept:
            return sum(self._kept) / len(self._kept)
        return self._hours.checkpoints_s / self._steps if self._hours else 0.0
