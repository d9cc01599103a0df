"""Progress of a run in tokens: the rate counts real tokens; the time left is `pace`'s."""

import time

from journeyman.events import Progress, ProgressEnded, Reporter
from journeyman.train.pace import Pace
from journeyman.train.state import State

TASK = "train"


class Meter:
    """Reports after each micro-batch. The rate is this process's own: an earlier one may have
    run on another machine."""

    def __init__(
        self, state: State, pace: Pace, *, steps: int, tokens: int, report: Reporter
    ) -> None:
        self._pace = pace
        self._steps = steps
        self._tokens = tokens
        self._done = state.real_tokens
        self._loss = state.taken[-1].loss if state.taken else None
        self._report = report
        self._since = time.monotonic()

    def resume_clock(self) -> None:
        """Count time from now on: what came before was validation or a checkpoint."""
        self._since = time.monotonic()

    def add(self, *, step: int, real_tokens: int, loss: float) -> None:
        """One micro-batch is done. loss: of the step so far, shown until a whole step is known."""
        now = time.monotonic()
        self._pace.trained(real_tokens, now - self._since)
        self._since = now
        self._done += real_tokens
        shown = loss if self._loss is None else self._loss
        self._report(
            Progress(
                task=TASK,
                done=self._done,
                total=self._tokens,
                unit="tokens",
                detail=f"step {step}/{self._steps}  loss {shown:.3f}  {self._pace.rate:.0f} tok/s",
                remaining_s=self._pace.remaining_s(step, self._tokens - self._done),
            )
        )

    def step_taken(self, loss: float) -> None:
        """A whole step is done: its loss is shown from now on."""
        self._loss = loss

    def end(self, state: State) -> None:
        """The run is over."""
        share = state.real_token_share
        padding = "" if share is None else f", {share:.1%} of the computed tokens were real"
        self._report(
            ProgressEnded(TASK, f"{state.step} steps, {state.real_tokens} tokens{padding}")
        )
