"""Progress of a run in tokens: the rate counts real tokens; the time left is `pace`'s.

How long the rest of a run takes: first as forecast, then as measured, validation included.

Each part (tokens, validations, what is kept after a step) goes from the forecast to this process's
own measurement as soon as there is one; an earlier process may have run on another machine.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator

from msgspec.structs import replace

from journeyman.events import Progress, ProgressEnded, Reporter
from journeyman.train.batching.batches import OptimiserStep
from journeyman.train.engine.interface import Tally
from journeyman.train.forecast.records import TimeForecast
from journeyman.train.monitor.status import Heartbeat, Status
from journeyman.train.state import State

TASK = "train"

VALIDATION = "validate"


class Pace:
    """Seconds and tokens of one process. validations: the steps that a validation follows."""

    def __init__(
        self,
        *,
        steps: int,
        validations: Collection[int],
        forecast: TimeForecast | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._steps = steps
        self._validations = validations
        self._forecast = forecast
        self._tokens = 0
        self._seconds = 0.0
        self._validation_s: float | None = None
        self._saving_s: list[float] = []

    def trained(self, tokens: int, seconds: float) -> None:
        """One micro-batch of so many real tokens is done."""
        self._tokens += tokens
        self._seconds += seconds

    @contextlib.contextmanager
    def validating(self) -> Iterator[None]:
        """Measure one validation."""
        started = self._clock()
        yield
        self._validation_s = self._clock() - started

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure what is written after one step."""
        started = self._clock()
        yield
        self._saving_s.append(self._clock() - started)

    @property
    def rate(self) -> float:
        """Real tokens a second: measured, else forecast, else 0."""
        if self._seconds:
            return self._tokens / self._seconds
        return self._forecast.real_tokens_per_s if self._forecast else 0.0

    def remaining_s(self, step: int, tokens: int) -> float | None:
        """Seconds to the end of the run from within a step, with so many real tokens to train."""
        if not self.rate:
            return None
        validations_left = sum(after >= step for after in self._validations)
        steps_left = self._steps - step + 1
        return (
            tokens / self.rate
            + validations_left * self._one_validation_s()
            + steps_left * self._one_saving_s()
        )

    def _one_validation_s(self) -> float:
        if self._validation_s is not None:
            return self._validation_s
        return (
            self._forecast.validation_s / max(1, len(self._validations)) if self._forecast else 0.0
        )

    def _one_saving_s(self) -> float:
        if self._saving_s:
            return sum(self._saving_s) / len(self._saving_s)
        return self._forecast.checkpoints_s / self._steps if self._forecast else 0.0


class Meter:
    """Reports after each micro-batch, and keeps the heartbeat. The rate is this process's own: an
    earlier one may have run on another machine."""

    def __init__(
        self,
        state: State,
        pace: Pace,
        *,
        steps: int,
        tokens: int,
        validation_tokens: int,
        limit_tokens_per_s: float | None = None,
        heartbeat: Heartbeat,
        report: Reporter,
    ) -> None:
        self.pace = pace
        self._tokens = tokens
        self._validation_tokens = validation_tokens
        self._limit = limit_tokens_per_s
        self._heartbeat = heartbeat
        self._report = report
        self._done = _tokens_done(state)
        self._since = time.monotonic()
        self._status = replace(heartbeat.status, steps=steps, tokens_total=tokens)

    def begin_step(
        self, state: State, step: OptimiserStep, *, micro_batches: int, lr: float
    ) -> None:
        """A step begins or goes on. Time counts from now: before was validation or a checkpoint."""
        self._since = time.monotonic()
        self._done = _tokens_done(state)
        self._status = replace(
            self._status, epoch=step.epoch, micro_batches=micro_batches, learning_rate=lr
        )
        self._beat(state)

    def add(self, state: State) -> None:
        """One micro-batch is done; the loss of the step so far is shown until one is whole."""
        now = time.monotonic()
        done = _tokens_done(state)
        self.pace.trained(done - self._done, now - self._since)
        self._since, self._done = now, done
        self._beat(state)
        status = self._heartbeat.status
        self._report(
            Progress(
                task=TASK,
                done=done,
                total=self._tokens,
                unit="tokens",
                detail=detail_of(status, step=state.step + 1, rate=self.pace.rate),
                remaining_s=status.eta_s,
            )
        )

    def _beat(self, state: State) -> None:
        in_step = state.in_step.tally.loss if state.in_step else None
        self._status = replace(
            self._status,
            state="training",
            step=state.step,
            micro_batch=state.micro_batch,
            tokens_done=self._done,
            tokens_per_s=self.pace.rate or None,
            limit_share=self.pace.rate / self._limit if self._limit else None,
            loss=state.taken[-1].loss if state.taken else in_step,
            validation_loss=state.validations[-1].loss if state.validations else None,
            eta_s=self.pace.remaining_s(state.step + 1, self._tokens - self._done),
        )
        self._heartbeat.beat(self._status)

    def validating(self, state: State, tally: Tally) -> None:
        """One batch of the validation split is done; tally: of all until now."""
        self._status = replace(self._status, state="validating", step=state.step)
        self._heartbeat.beat(self._status)
        self._report(Progress(VALIDATION, tally.real_tokens, self._validation_tokens, "tokens"))

    def end_validation(self) -> None:
        """The validation is over."""
        self._report(ProgressEnded(VALIDATION))

    def saving(self, state: State) -> None:
        """A checkpoint of the state begins."""
        self._status = replace(
            self._status, state="saving", step=state.step, micro_batch=state.micro_batch
        )
        self._heartbeat.beat(self._status)

    def end(self, state: State) -> None:
        """The run is over."""
        self._beat(state)
        told = f"{state.step} steps, {state.real_tokens} tokens"
        self._report(ProgressEnded(TASK, told + _computed(state.real_token_share)))


def _computed(share: float | None) -> str:
    """What of the computed tokens was real; above 1 where rows that begin alike share tokens."""
    if share is None:
        return ""
    if share <= 1:
        return f", {share:.1%} of the computed tokens were real"
    return f", {1 - 1 / share:.1%} of them not computed again: rows began alike"


def detail_of(status: Status, *, step: int, rate: float) -> str:
    """`step 3/57  loss 1.284  val 1.302  312 tok/s, 41% of the limit  3.1 GiB`."""
    parts = [f"step {step}/{status.steps}"]
    if status.loss is not None:
        parts.append(f"loss {status.loss:.3f}")
    if status.validation_loss is not None:
        parts.append(f"val {status.validation_loss:.3f}")
    share = status.limit_share
    parts.append(f"{rate:.0f} tok/s" + (f", {share:.0%} of the limit" if share else ""))
    if status.rss_bytes is not None:
        parts.append(f"{status.rss_bytes / 2**30:.1f} GiB")
    return "  ".join(parts)


def _tokens_done(state: State) -> int:
    return state.real_tokens + (state.in_step.tally.real_tokens if state.in_step else 0)
