"""The training loop: one page. Order, schedule, dropout and start values follow from the seed.

It does not load models, find checkpoints or write results; see `stage`, `checkpoints`, `outputs`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from journeyman.errors import IntegrityError
from journeyman.events import Note, Reporter
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import Batches, OptimiserStep, division, split
from journeyman.train.batching.rows import TokenRow
from journeyman.train.batching.seeds import dropout_seed
from journeyman.train.engine.interface import Tally, TrainingEngine, total
from journeyman.train.engine.learning_rate import learning_rate
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.engine.recipe import Recipe
from journeyman.train.forecast.records import Forecast
from journeyman.train.gradient_sync import agree, sum_gradients, summed
from journeyman.train.monitor.loss_warnings import NotFinite, spike_caution
from journeyman.train.monitor.progress import Meter
from journeyman.train.out_of_memory import OutOfMemoryHandler
from journeyman.train.parallel.group import ALONE, ProcessGroup
from journeyman.train.state import State, after_micro_batches, after_step, after_validation
from journeyman.train.stop_signal import Stopped, StopRequest


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What stays the same from the first step to the last. forecast: None if none was made."""

    recipe: Recipe
    rows: Sequence[TokenRow]
    val_rows: Sequence[TokenRow]
    steps: Sequence[OptimiserStep]
    validated_steps: frozenset[int]
    forecast: Forecast | None = None

    @property
    def settings(self) -> TrainSettings:
        """The resolved settings."""
        return self.recipe.settings

    @property
    def validations(self) -> frozenset[int]:
        """The steps that a validation follows; none without validation rows."""
        return self.validated_steps if self.val_rows else frozenset()


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The loop over one engine. Raises Stopped, NotFinite, OutOfMemory."""

    engine: TrainingEngine
    optimizer: Optimizer
    oom_handler: OutOfMemoryHandler
    job: TrainingJob
    stop: StopRequest
    meter: Meter
    report: Reporter
    group: ProcessGroup = ALONE

    def fit(self, state: State, record: Callable[[State], None]) -> State:
        """Take all steps that `state` has not taken; `record` gets each new state.

        Stopped is raised only where parameters, moments and gradients are those of its state.
        """
        pace = self.meter.pace
        state = self.validated(state)
        record(state)
        for step in self.job.steps[state.step :]:
            state = self.take_step(state, step)
            with pace.saving():
                record(state)
            state = self.validated(state)
            record(state)
        self.meter.end(state)
        return state

    def take_step(self, state: State, step: OptimiserStep) -> State:
        """One update, by the gradient of the mean loss over all trained tokens of the step."""
        state = self._accumulated(state, step)
        started = time.monotonic()
        norm = self.optimizer.clip(self.job.settings.max_grad_norm)
        if not math.isfinite(norm):
            raise NotFinite(
                "the gradient", state, step, [self.job.rows[index].id for index in step.rows]
            )
        lr = self._learning_rate(step)
        self.optimizer.step(lr)
        seconds = time.monotonic() - started
        state = after_step(state, step, lr=lr, gradient_norm=norm, seconds=seconds)
        if state.taken[-1].spike:
            self.report(spike_caution(step.number, state.taken[-1].loss))
        return state

    def _learning_rate(self, step: OptimiserStep) -> float:
        settings = self.job.settings
        return learning_rate(
            step.number, len(self.job.steps), peak=settings.lr, warmup_share=settings.warmup_share
        )

    def _accumulated(self, state: State, step: OptimiserStep) -> State:
        """The state with the gradients of all micro-batches of the step."""
        return self.oom_handler.run(
            lambda state: self._micro_batches(state, step), state, step.micro_batches
        )

    def _micro_batches(self, state: State, step: OptimiserStep) -> State:
        """The micro-batches that the state lacks; the last place to stop is before each."""
        # Weighted by tokens: means of micro-batches favour short answers
        # (test_accumulation_matches_one_big_batch).
        weight = 1 / sum(self.job.rows[index].trained_tokens for index in step.rows)
        if state.in_step is None:
            self.optimizer.clear()
        agree(self.group, self.engine.parameters())
        batches = split(step.micro_batches, state.fit)
        self.meter.begin_step(state, step, micro_batches=len(batches), lr=self._learning_rate(step))
        for number in range(state.micro_batch, len(batches), self.group.size):
            self._stop_if_asked(state)
            state = self._round(state, step, batches, number=number, weight=weight)
            self.meter.add(state)
        sum_gradients(self.group, self.optimizer)
        return state

    def _round(
        self, state: State, step: OptimiserStep, batches: Batches, *, number: int, weight: float
    ) -> State:
        """The state with one more micro-batch of each process, the first of them `number`."""
        started = time.monotonic()
        mine = number + self.group.rank

        def backward() -> Tally:
            if mine >= len(batches):
                return Tally()  # the last round of a step may have fewer than there are processes
            rows = [self.job.rows[index] for index in batches[mine]]
            seed = dropout_seed(self.job.settings.seed, step.number, mine)
            return self.engine.backward(rows, weight=weight, seed=seed)

        found = summed(self.group, backward)
        if found.not_finite is not None:
            rows = [self.job.rows[index] for index in batches[number + found.not_finite]]
            raise NotFinite("the loss", state, step, [row.id for row in rows])
        count = min(self.group.size, len(batches) - number)
        seconds = time.monotonic() - started
        return after_micro_batches(state, found.tally, count=count, seconds=seconds)

    def _stop_if_asked(self, state: State) -> None:
        if self.group.any_stop(self.stop.asked):
            raise Stopped(state)

    def validated(self, state: State) -> State:
        """The state with its validation, where one is due and not there yet."""
        rows = self.job.val_rows
        if state.step not in self.job.validations or state.is_validated():
            return state
        batches = division(rows, self.job.settings)(range(len(rows)))
        with self.meter.pace.validating():
            return self.oom_handler.run(
                lambda state: self._validated(state, batches), state, batches
            )

    def _validated(self, state: State, batches: Sequence[Sequence[int]]) -> State:
        """The state with the loss over all trained tokens of the validation split."""
        tally = Tally()
        parts = split(batches, state.fit)
        agree(self.group, self.engine.parameters())
        for number in range(0, len(parts), self.group.size):
            self._stop_if_asked(state)
            mine = parts[number + self.group.rank :][:1]
            found = summed(self.group, partial(self._loss_of, mine))
            tally = total((tally, found.tally))
            self.meter.validating(state, tally)
        when = f"after step {state.step}" if state.step else "of the base"
        self.meter.end_validation()
        if not math.isfinite(tally.loss):
            raise IntegrityError(
                f"the validation loss {when} is not finite",
                hint="lower --lr" if state.step else "check the base model's files",
            )
        count = len(self.job.val_rows)
        self.report(Note(f"validation loss {when}: {tally.loss:.4f} nats a token ({count} rows)"))
        return after_validation(state, tally)

    def _loss_of(self, batches: Batches) -> Tally:
        """The loss of one batch of the validation split, or of none."""
        return total(self.engine.loss([self.job.val_rows[at] for at in one]) for one in batches)
