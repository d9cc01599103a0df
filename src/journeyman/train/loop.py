"""The training loop: one page. Order, schedule, dropout and start values follow from the seed.

It does not load models, find checkpoints or write results; see `stage`, `checkpoints`, `outputs`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from journeyman.errors import IntegrityError
from journeyman.events import Note, Progress, ProgressEnded, Reporter
from journeyman.settings import TrainSettings
from journeyman.train.batches import Step, by_length
from journeyman.train.engine import Tally, TrainingEngine, total
from journeyman.train.optimizer import Optimizer
from journeyman.train.pace import Pace
from journeyman.train.plan.records import Hours
from journeyman.train.progress import Meter
from journeyman.train.rows import TokenRow
from journeyman.train.schedule import learning_rate
from journeyman.train.seeds import derived_seed
from journeyman.train.state import State, after_step, after_validation
from journeyman.train.stopping import StopRequest


@dataclass(frozen=True, kw_only=True)
class Job:
    """What stays the same from the first step to the last; settings are resolved."""

    settings: TrainSettings
    rows: Sequence[TokenRow]
    val_rows: Sequence[TokenRow]
    steps: Sequence[Step]
    validated_steps: frozenset[int]
    hours: Hours | None = None

    @property
    def looks(self) -> frozenset[int]:
        """The steps after which the validation split is looked at; none without its rows."""
        return self.validated_steps if self.val_rows else frozenset()


class NotFinite(IntegrityError):
    """A loss or a gradient is no number; `row_ids` and `seed` are enough to run it again."""

    def __init__(self, what: str, *, step: int, row_ids: Sequence[str], seed: int) -> None:
        super().__init__(
            f"{what} is not finite at step {step}, rows {', '.join(row_ids)}",
            hint="the update was not made; look at these rows, lower --lr, "
            "or check the base model's files",
        )
        self.step, self.row_ids, self.seed = step, tuple(row_ids), seed


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The loop over one engine. Raises Interrupted, NotFinite."""

    engine: TrainingEngine
    optimizer: Optimizer
    job: Job
    stop: StopRequest
    report: Reporter

    def fit(self, state: State, record: Callable[[State], None]) -> State:
        """Take all steps that `state` has not taken; `record` gets each new state.

        Interrupted is raised only where parameters and optimiser are those of the last of them.
        """
        job = self.job
        tokens = sum(len(job.rows[index].ids) for step in job.steps for index in step.rows)
        pace = Pace(steps=len(job.steps), looks=job.looks, hours=job.hours)
        meter = Meter(state, pace, steps=len(job.steps), tokens=tokens, report=self.report)
        state = self.validated(state, pace)
        record(state)
        for step in job.steps[state.step :]:
            state = self.take_step(state, step, meter)
            with pace.keeping():
                record(state)
            state = self.validated(state, pace)
            record(state)
        meter.end(state)
        return state

    def take_step(self, state: State, step: Step, meter: Meter) -> State:
        """One update, by the gradient of the mean loss over all trained tokens of the step."""
        started = time.monotonic()
        settings, rows = self.job.settings, [self.job.rows[index] for index in step.rows]
        tally = self._accumulate(step, meter)
        norm = self.optimizer.clip(settings.max_grad_norm)
        _require_finite("the gradient", norm, step, rows, seed=settings.seed)
        lr = learning_rate(
            step.number, len(self.job.steps), peak=settings.lr, warmup_share=settings.warmup_share
        )
        self.optimizer.step(lr)
        meter.step_taken(tally.loss)
        seconds = time.monotonic() - started
        return after_step(state, step, tally, lr=lr, gradient_norm=norm, seconds=seconds)

    def _accumulate(self, step: Step, meter: Meter) -> Tally:
        """Gradients of all micro-batches of the step; the last place to stop is before each."""
        # Weighted by tokens: means of micro-batches favour short answers
        # (test_accumulation_matches_one_big_batch).
        weight = 1 / sum(self.job.rows[index].trained_tokens for index in step.rows)
        self.optimizer.clear()
        meter.resume_clock()
        tally = Tally()
        for number, batch in enumerate(step.micro_batches):
            self.stop.check()
            rows = [self.job.rows[index] for index in batch]
            seed = derived_seed(self.job.settings.seed, "dropout", step.number, number)
            found = self.engine.backward(rows, weight=weight, seed=seed)
            _require_finite("the loss", found.loss_sum, step, rows, seed=seed)
            tally = total((tally, found))
            meter.add(step=step.number, real_tokens=found.real_tokens, loss=tally.loss)
        return tally

    def validated(self, state: State, pace: Pace) -> State:
        """The state with its validation, where one is due and not there yet."""
        if state.step not in self.job.looks or state.is_validated():
            return state
        with pace.looking():
            tally = self.validation_loss()
        when = f"after step {state.step}" if state.step else "of the base"
        if not math.isfinite(tally.loss):
            raise IntegrityError(
                f"the validation loss {when} is not finite",
                hint="lower --lr" if state.step else "check the base model's files",
            )
        rows = len(self.job.val_rows)
        self.report(Note(f"validation loss {when}: {tally.loss:.4f} nats a token ({rows} rows)"))
        return after_validation(state, tally)

    def validation_loss(self) -> Tally:
        """Loss over all trained tokens of the validation split."""
        rows = self.job.val_rows
        lengths = [len(row.ids) for row in rows]
        tally = Tally()
        for batch in by_length(range(len(rows)), lengths, batch_size=self.job.settings.batch_size):
            self.stop.check()
            tally = total((tally, self.engine.loss([rows[index] for index in batch])))
            self.report(Progress("validate", tally.real_tokens, sum(lengths), "tokens"))
        self.report(ProgressEnded("validate"))
        return tally


def _require_finite(
    what: str, value: float, step: Step, rows: Sequence[TokenRow], *, seed: int
) -> None:
    if not math.isfinite(value):
        raise NotFinite(what, step=step.number, row_ids=[row.id for row in rows], seed=seed)
