"""Progress of a run: throughput in real tokens a second, time left, and the line that shows both.

The time left is first the forecast; each part of it (training, validations, checkpoints) switches
to this process's own measurement as soon as there is one. An earlier process of the same run does
not count, because it may have run on another machine.
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

_TASK = "train"
_VALIDATION_TASK = "validate"


class Meter:
    """Reports the progress after every micro-batch, and writes it to the status.

    tokens, validation_tokens: real tokens of the whole run and of one validation.
    limit_tokens_per_s: the throughput that the machine's products alone would allow.
    """

    def __init__(
        self,
        state: State,
        timer: "RunTimer",
        *,
        steps: int,
        tokens: int,
        validation_tokens: int,
        limit_tokens_per_s: float | None = None,
        heartbeat: Heartbeat,
        report: Reporter,
    ) -> None:
        self.timer = timer
        self._tokens = tokens
        self._validation_tokens = validation_tokens
        self._limit_tokens_per_s = limit_tokens_per_s
        self._heartbeat = heartbeat
        self._report = report
        self._done = _tokens_done(state)
        self._since = time.monotonic()
        self._status = replace(heartbeat.status, steps=steps, tokens_total=tokens)

    def begin_step(
        self, state: State, step: OptimiserStep, *, micro_batches: int, lr: float
    ) -> None:
        """A step begins or goes on; the clock starts here, after a validation or a checkpoint."""
        self._since = time.monotonic()
        self._done = _tokens_done(state)
        self._status = replace(
            self._status, epoch=step.epoch, micro_batches=micro_batches, learning_rate=lr
        )
        self._beat(state)

    def add(self, state: State) -> None:
        """A micro-batch is finished."""
        now = time.monotonic()
        done = _tokens_done(state)
        self.timer.add_micro_batch(done - self._done, now - self._since)
        self._since, self._done = now, done
        self._beat(state)
        status = self._heartbeat.status
        self._report(
            Progress(
                task=_TASK,
                done=done,
                total=self._tokens,
                unit="tokens",
                detail=progress_detail(
                    status, step=state.step + 1, tokens_per_s=self.timer.tokens_per_s
                ),
                remaining_s=status.eta_s,
            )
        )

    def _beat(self, state: State) -> None:
        # Until the first step is finished, the loss of its micro-batches so far is shown.
        loss_in_step = state.in_step.tally.loss if state.in_step else None
        tokens_per_s, limit = self.timer.tokens_per_s, self._limit_tokens_per_s
        self._status = replace(
            self._status,
            state="training",
            step=state.step,
            micro_batch=state.micro_batch,
            tokens_done=self._done,
            tokens_per_s=tokens_per_s or None,
            limit_share=tokens_per_s / limit if limit else None,
            loss=state.taken[-1].loss if state.taken else loss_in_step,
            validation_loss=state.validations[-1].loss if state.validations else None,
            eta_s=self.timer.remaining_s(state.step + 1, self._tokens - self._done),
        )
        self._heartbeat.beat(self._status)

    def validating(self, state: State, tally: Tally) -> None:
        """A micro-batch of the validation split is finished; tally: of all so far."""
        self._status = replace(self._status, state="validating", step=state.step)
        self._heartbeat.beat(self._status)
        self._report(
            Progress(_VALIDATION_TASK, tally.real_tokens, self._validation_tokens, "tokens")
        )

    def end_validation(self) -> None:
        """The validation is finished."""
        self._report(ProgressEnded(_VALIDATION_TASK))

    def saving(self, state: State) -> None:
        """A checkpoint of the state is about to be written."""
        self._status = replace(
            self._status, state="saving", step=state.step, micro_batch=state.micro_batch
        )
        self._heartbeat.beat(self._status)

    def end(self, state: State) -> None:
        """The run is finished."""
        self._beat(state)
        summary = f"{state.step} steps, {state.real_tokens} tokens"
        self._report(ProgressEnded(_TASK, summary + _real_token_note(state.real_token_share)))


class RunTimer:
    """Measures one process's throughput, validations and checkpoints, and gives the time left.

    validations: the steps that a validation follows.
    """

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

    def add_micro_batch(self, tokens: int, seconds: float) -> None:
        """Count a micro-batch. tokens: real ones."""
        self._tokens += tokens
        self._seconds += seconds

    @contextlib.contextmanager
    def time_validation(self) -> Iterator[None]:
        """Measure one validation."""
        started = self._clock()
        yield
        self._validation_s = self._clock() - started

    @contextlib.contextmanager
    def time_saving(self) -> Iterator[None]:
        """Measure what is written after one step."""
        started = self._clock()
        yield
        self._saving_s.append(self._clock() - started)

    @property
    def tokens_per_s(self) -> float:
        """Throughput in real tokens a second: measured, else forecast, else 0."""
        if self._seconds:
            return self._tokens / self._seconds
        return self._forecast.real_tokens_per_s if self._forecast else 0.0

    def remaining_s(self, step: int, tokens: int) -> float | None:
        """Seconds to the end of the run. step: the current one. tokens: real ones left to train."""
        if not self.tokens_per_s:
            return None
        validations_left = sum(after >= step for after in self._validations)
        steps_left = self._steps - step + 1
        return (
            tokens / self.tokens_per_s
            + validations_left * self._one_validation_s()
            + steps_left * self._one_saving_s()
        )

    def _one_validation_s(self) -> float:
        if self._validation_s is not None:
            return self._validation_s
        if self._forecast is None:
            return 0.0
        return self._forecast.validation_s / max(1, len(self._validations))

    def _one_saving_s(self) -> float:
        if self._saving_s:
            return sum(self._saving_s) / len(self._saving_s)
        return self._forecast.checkpoints_s / self._steps if self._forecast else 0.0


def progress_detail(status: Status, *, step: int, tokens_per_s: float) -> str:
    """`step 3/57  loss 1.284  val 1.302  312 tok/s, 41% of the limit  3.1 GiB`."""
    parts = [f"step {step}/{status.steps}"]
    if status.loss is not None:
        parts.append(f"loss {status.loss:.3f}")
    if status.validation_loss is not None:
        parts.append(f"val {status.validation_loss:.3f}")
    share = status.limit_share
    parts.append(f"{tokens_per_s:.0f} tok/s" + (f", {share:.0%} of the limit" if share else ""))
    if status.rss_bytes is not None:
        parts.append(f"{status.rss_bytes / 2**30:.1f} GiB")
    return "  ".join(parts)


def _real_token_note(share: float | None) -> str:
    """Padding, or what sequence packing saved: it computes tokens that rows share only once."""
    if share is None:
        return ""
    if share <= 1:
        return f", {share:.1%} of the computed tokens were real"
    return f", {1 - 1 / share:.1%} of them in shared prefixes and not computed again"


def _tokens_done(state: State) -> int:
    return state.real_tokens + (state.in_step.tally.real_tokens if state.in_step else 0)
