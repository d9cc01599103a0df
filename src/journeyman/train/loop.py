"""The training loop: optimiser steps, each from its micro-batches, with a validation when due.

The seed decides order, schedule, dropout and start values. Loading models and checkpoints is left
to `session`, and writing results to `checkpoint`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from journeyman.errors import IntegrityError
from journeyman.events import Note, Reporter
from journeyman.train.batching.batches import Batches, OptimiserStep, batcher_for, split
from journeyman.train.batching.seeds import dropout_seed
from journeyman.train.engine.interface import Tally, TrainingEngine, total
from journeyman.train.engine.learning_rate import learning_rate
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.forecast.run import IntendedRun
from journeyman.train.gradient_sync import broadcast_adapter, sum_gradients, sum_tallies
from journeyman.train.monitor.loss_warnings import NotFinite, spike_warning
from journeyman.train.monitor.progress import Meter
from journeyman.train.out_of_memory import OutOfMemoryHandler
from journeyman.train.parallel.group import ProcessGroup
from journeyman.train.state import State, after_micro_batches, after_step, after_validation
from journeyman.train.stop_signal import Stopped, StopRequest


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The training loop over one engine. Raises Stopped, NotFinite, OutOfMemory."""

    engine: TrainingEngine
    optimizer: Optimizer
    oom_handler: OutOfMemoryHandler
    run: IntendedRun
    stop: StopRequest
    meter: Meter
    report: Reporter
    group: ProcessGroup

    def train(self, state: State, record: Callable[[State], None]) -> State:
        """Take all steps that `state` has not taken; `record` gets each new state.

        When Stopped is raised, parameters, moments and gradients are those of its state.
        """
        timer = self.meter.timer
        state = self.validate(state)
        record(state)
        for step in self.run.steps[state.step :]:
            state = self.take_step(state, step)
            with timer.time_saving():
                record(state)
            state = self.validate(state)
            record(state)
        self.meter.end(state)
        return state

    def take_step(self, state: State, step: OptimiserStep) -> State:
        """The state after one update by the gradient of the mean loss over the step's tokens."""
        state = self.oom_handler.run(
            lambda state: self._accumulate(state, step), state, step.micro_batches
        )
        started = time.monotonic()
        norm = self.optimizer.clip(self.run.settings.max_grad_norm)
        if not math.isfinite(norm):
            raise NotFinite(
                "the gradient", state, step, [self.run.rows[index].id for index in step.rows]
            )
        lr = self._learning_rate(step)
        self.optimizer.step(lr)
        seconds = time.monotonic() - started
        state = after_step(state, step, lr=lr, gradient_norm=norm, seconds=seconds)
        if state.taken[-1].spike:
            self.report(spike_warning(step.number, state.taken[-1].loss))
        return state

    def _learning_rate(self, step: OptimiserStep) -> float:
        settings = self.run.settings
        return learning_rate(
            step.number, len(self.run.steps), peak=settings.lr, warmup_share=settings.warmup_share
        )

    def _accumulate(self, state: State, step: OptimiserStep) -> State:
        """Add the gradients of the step's micro-batches that are left; may stop before each."""
        # Weighted by tokens, because means of micro-batches favour short answers
        # (test_accumulation_matches_one_big_batch).
        weight = 1 / sum(self.run.rows[index].trained_tokens for index in step.rows)
        if state.in_step is None:
            self.optimizer.clear()
        broadcast_adapter(self.group, self.engine.parameters())
        batches = split(step.micro_batches, state.fit)
        self.meter.begin_step(state, step, micro_batches=len(batches), lr=self._learning_rate(step))
        for number in range(state.micro_batch, len(batches), self.group.size):
            self._stop_if_requested(state)
            state = self._round(state, step, batches, number=number, weight=weight)
            self.meter.add(state)
        sum_gradients(self.group, self.optimizer)
        return state

    def _round(
        self, state: State, step: OptimiserStep, batches: Batches, *, number: int, weight: float
    ) -> State:
        """The state after one micro-batch in each process; rank 0 does number `number`."""
        started = time.monotonic()
        own = number + self.group.rank

        def backward() -> Tally:
            if own >= len(batches):
                return Tally()  # the last round of a step may have fewer than there are processes
            rows = [self.run.rows[index] for index in batches[own]]
            seed = dropout_seed(self.run.settings.seed, step.number, own)
            return self.engine.backward(rows, weight=weight, seed=seed)

        result = sum_tallies(self.group, backward)
        if result.not_finite is not None:
            rows = [self.run.rows[index] for index in batches[number + result.not_finite]]
            raise NotFinite("the loss", state, step, [row.id for row in rows])
        count = min(self.group.size, len(batches) - number)
        seconds = time.monotonic() - started
        return after_micro_batches(state, result.tally, count=count, seconds=seconds)

    def _stop_if_requested(self, state: State) -> None:
        if self.group.any_stop(self.stop.requested):
            raise Stopped(state)

    def validate(self, state: State) -> State:
        """The state with its validation loss, if one is due and not measured yet."""
        rows = self.run.val_rows
        if state.step not in self.run.validations or state.is_validated():
            return state
        batches = batcher_for(rows, self.run.settings)(range(len(rows)))
        with self.meter.timer.time_validation():
            return self.oom_handler.run(
                lambda state: self._validate(state, batches), state, batches
            )

    def _validate(self, state: State, batches: Sequence[Sequence[int]]) -> State:
        """The state with the mean loss of a trained token over the validation split."""
        tally = Tally()
        parts = split(batches, state.fit)
        broadcast_adapter(self.group, self.engine.parameters())
        for number in range(0, len(parts), self.group.size):
            self._stop_if_requested(state)
            own = parts[number + self.group.rank :][:1]
            result = sum_tallies(self.group, partial(self._loss_of, own))
            tally = total((tally, result.tally))
            self.meter.validating(state, tally)
        when = f"after step {state.step}" if state.step else "of the base"
        self.meter.end_validation()
        if not math.isfinite(tally.loss):
            raise IntegrityError(
                f"the validation loss {when} is not finite",
                hint="lower --lr" if state.step else "check the base model's files",
            )
        count = len(self.run.val_rows)
        self.report(Note(f"validation loss {when}: {tally.loss:.4f} nats a token ({count} rows)"))
        return after_validation(state, tally)

    def _loss_of(self, batches: Batches) -> Tally:
        """The loss of one micro-batch of the validation split, or of none."""
        return total(self.engine.loss([self.run.val_rows[at] for at in one]) for one in batches)
