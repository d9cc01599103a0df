"""Progress of a run in tokens: rate and time left come from real tokens, not from steps."""

import time

from journeyman.events import Progress, ProgressEnded, Reporter
from journeyman.train.state import State

TASK = "train"


class Meter:
    """Reports after each micro-batch. The rate is this process's own: an earlier one may have
    run on another machine."""

    def __init__(self, state: State, *, steps: int, tokens: int, report: Reporter) -> None:
        self._steps = steps
        self._tokens = tokens
        self._done = state.real_tokens
        self._step = state.step
        self._seconds = 0.0
        self._processed = 0
        self._loss = state.taken[-1].loss if state.taken else None
        self._report = report
        self._since = time.monotonic()

    def resume_clock(self) -> None:
        """Count time from now on: what came before was validation or a checkpoint."""
        self._since = time.monotonic()

    def add(self, *, step: int, real_tokens: int, loss: float) -> None:
        """One micro-batch is done. loss: of the step so far, shown until a whole step is known."""
        now = time.monotonic()
        self._seconds += now - self._since
        self._since = now
        self._processed += real_tokens
        self._done += real_tokens
        shown = loss if self._loss is None else self._loss
        self._report(
            Progress(
                task=TASK,
                done=self._done,
                total=self._tokens,
                unit="tokens",
                detail=f"step {step}/{self._steps}  loss {shown:.3f}  {self.rate:.0f} tok/s",
                remaining_s=(self._tokens - self._done) / self.rate if self.rate else None,
            )
        )

    def step_taken(self, loss: float) -> None:
        """A whole step is done: its loss is shown from now on."""
        self._loss = loss

    @property
    def rate(self) -> float:
        """Real tokens a second in this process; 0 before the first micro-batch."""
        return self._processed / self._seconds if self._seconds else 0.0

    def end(self, state: State) -> None:
        """The run is over."""
        share = state.real_token_share
        padding = "" if share is None else f", {share:.1%} of the computed tokens were real"
        self._report(
            ProgressEnded(TASK, f"{state.step} steps, {state.real_tokens} tokens{padding}")
        )
