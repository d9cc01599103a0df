"""One process's part of a run: load the base model, restore, take the steps, write the result.

Every process of a data parallel run does this. Rank 0 also records it: only that process has a
heartbeat, checkpoints, curves and a result.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from journeyman.errors import Interrupted, MachineError
from journeyman.events import Caution, Note, Reporter
from journeyman.machine.torch_runtime import freed_memory_kept, using_threads
from journeyman.records import BaseModel
from journeyman.train.checkpoint.read import Checkpoint
from journeyman.train.checkpoint.replay import write_replay
from journeyman.train.checkpoint.restore import misfit, report_restored, restore, saved_gradients
from journeyman.train.checkpoint.result import TrainingResult, write_final
from journeyman.train.engine.adapter_parameters import initialise
from journeyman.train.engine.devices import CPU, gpu_peak_bytes
from journeyman.train.engine.factory import open_engine
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.forecast.records import Forecast
from journeyman.train.forecast.run import IntendedRun
from journeyman.train.gradient_sync import broadcast_start, gather_gradients
from journeyman.train.identity import Identity
from journeyman.train.loop import Trainer
from journeyman.train.monitor.loss_plot import draw_losses
from journeyman.train.monitor.loss_warnings import LossWarnings, NotFinite
from journeyman.train.monitor.progress import Meter, RunTimer
from journeyman.train.monitor.status import Heartbeat, SilentHeartbeat, heartbeat
from journeyman.train.monitor.tensorboard import TensorBoardWriter
from journeyman.train.out_of_memory import (
    OutOfMemory,
    OutOfMemoryHandler,
    UnexpectedEnd,
    is_out_of_memory,
    next_smaller,
    out_of_memory,
    read_start,
    unexpected_end,
    write_start,
)
from journeyman.train.parallel.group import PeerLost, ProcessGroup
from journeyman.train.recorder import Recorder, SilentRecorder
from journeyman.train.state import State, numerics
from journeyman.train.stop_signal import Stopped, StopRequest


@dataclass(frozen=True, kw_only=True)
class Session:
    """One process of a run.

    checkpoint: what rank 0 goes on from; None for a new run and in every other process. forecast:
    None if there is none.
    """

    run: IntendedRun
    base: BaseModel
    identity: Identity
    group: ProcessGroup
    report: Reporter
    checkpoint: Checkpoint | None = None
    forecast: Forecast | None = None

    def train(self) -> TrainingResult | None:
        """Take the steps that are left; rank 0 writes `final_model/`, the others give None.

        Raises what ends the run early.
        """
        settings, group = self.run.settings, self.group
        killed = unexpected_end(settings.output_dir) if group.is_first else None
        if killed is not None:
            self.report(killed.caution())
        with (
            self._heartbeat() as beat,
            StopRequest(deferred=False) as stop,
            using_threads(settings.threads) as threads,
            freed_memory_kept(self.run.recipe.spares_memory),
        ):
            if settings.device == CPU:
                self.report(Note(f"threads: {threads}"))
            engine = open_engine(self.base, self.run.recipe, self.report)
            optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)
            oom_handler = self._oom_handler(engine)
            state = self._start(engine, optimizer, oom_handler, killed)
            stop.deferred = True
            trainer = Trainer(
                engine=engine,
                optimizer=optimizer,
                oom_handler=oom_handler,
                run=self.run,
                stop=stop,
                meter=self._meter(state, beat),
                report=self.report,
                group=group,
            )
            with self._recorder(trainer, state) as recorder:
                state = _train(trainer, recorder)
            recorder.report_cost()
            if (peak := gpu_peak_bytes()) is not None:
                self.report(Note(f"peak GPU memory: {peak / 2**30:.1f} GiB"))
            if not group.is_first:
                return None
            return write_final(settings, self.base, state, engine.parameters())

    def _heartbeat(self) -> contextlib.AbstractContextManager[Heartbeat]:
        if not self.group.is_first:
            return contextlib.nullcontext(SilentHeartbeat())
        output_dir = self.run.settings.output_dir
        return heartbeat(output_dir, self.report, process_count=self.group.size)

    def _oom_handler(self, engine: TrainingEngine) -> OutOfMemoryHandler:
        settings = self.run.settings
        write = partial(write_start, settings.output_dir)
        return OutOfMemoryHandler(
            engine.enable_gradient_checkpointing,
            may_reduce=settings.fit,
            on_reduce=write if self.group.is_first else lambda _: None,
            report=self.report,
        )

    def _start(
        self,
        engine: TrainingEngine,
        optimizer: Optimizer,
        oom_handler: OutOfMemoryHandler,
        killed: UnexpectedEnd | None,
    ) -> State:
        """The state that all processes start with; adapter, moments and gradients are in place."""
        state = None
        if self.group.is_first:
            state = self._first_state(engine, optimizer)
            if killed is not None and killed.can_reduce:
                batches = [batch for step in self.run.steps for batch in step.micro_batches]
                state = oom_handler.after_kill(state, batches)
            write_start(self.run.settings.output_dir, state.fit)
        state = self._broadcast(state, optimizer)
        oom_handler.apply(state.fit)
        return state

    def _first_state(self, engine: TrainingEngine, optimizer: Optimizer) -> State:
        """The state that rank 0 starts with: the checkpoint's, or that of a new run."""
        settings = self.run.settings
        state = State(self.identity, numerics(self.group.size, settings.device))
        state = replace(state, fit=read_start(settings.output_dir).fit)
        if self.checkpoint is None:
            initialise(engine.parameters(), seed=settings.seed)
            return state
        state = restore(self.checkpoint, state, engine, optimizer)
        report_restored(self.checkpoint, state, len(self.run.steps), self.report)
        return state

    def _broadcast(self, state: State | None, optimizer: Optimizer) -> State:
        checkpoint = self.checkpoint
        if checkpoint is None or state is None or state.in_step is None:
            return broadcast_start(self.group, state, optimizer, {})
        try:
            return broadcast_start(self.group, state, optimizer, saved_gradients(checkpoint))
        except (KeyError, ValueError) as error:
            raise misfit(checkpoint, error) from error

    def _meter(self, state: State, beat: Heartbeat) -> Meter:
        run = self.run
        forecast = self.forecast.hours if self.forecast else None
        machine = self.forecast.machine if self.forecast else None
        steps = len(run.steps)
        return Meter(
            state,
            RunTimer(steps=steps, validations=run.validations, forecast=forecast),
            steps=steps,
            tokens=sum(len(run.rows[index].ids) for step in run.steps for index in step.rows),
            validation_tokens=sum(len(row.ids) for row in run.val_rows),
            limit_tokens_per_s=machine.limit_tokens_per_s if machine else None,
            heartbeat=beat,
            report=self.report,
        )

    @contextlib.contextmanager
    def _recorder(self, trainer: Trainer, state: State) -> Iterator[Recorder | SilentRecorder]:
        """What records the states of this process; rank 0 also draws the losses at the end."""
        if not self.group.is_first:
            yield SilentRecorder(state)
            return
        settings, report = self.run.settings, self.report
        with TensorBoardWriter(settings.output_dir / "logs", state, report) as tensorboard:
            recorder = Recorder(
                settings,
                state,
                steps=len(self.run.steps),
                parameters=trainer.engine.parameters(),
                optimizer=trainer.optimizer,
                tensorboard=tensorboard,
                loss_warnings=LossWarnings(report),
                meter=trainer.meter,
                report=report,
            )
            try:
                yield recorder
            finally:
                # Of an interrupted run, too, to show how far it came.
                self._draw(recorder.state)

    def _draw(self, state: State) -> None:
        if not (state.taken or state.validations):
            return
        path = self.run.settings.output_dir / "losses.png"
        try:
            draw_losses(path, state, steps=len(self.run.steps))
        except OSError as error:
            self.report(Caution(f"cannot write `{path}`: {error.strerror or error}"))


def _train(trainer: Trainer, recorder: Recorder | SilentRecorder) -> State:
    """The state after the last step. If the run ends early, everything is saved to go on."""
    try:
        return trainer.train(recorder.state, recorder.record)
    except Stopped as error:
        recorder.save(error.state, gather_gradients(trainer.group, error.state, trainer.optimizer))
        raise Interrupted(f"{error.message}; {recorder.saved}", hint=error.hint) from error
    except (OutOfMemory, PeerLost):
        # Raised between updates, so the parameters are still those of the last step.
        recorder.save(recorder.state)
        raise
    except NotFinite as error:
        if trainer.group.is_first:
            _write_replay(error, trainer)
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # Raised inside an update: the parameters may be half changed, so nothing is saved.
        batches = [x for step in trainer.run.steps for x in step.micro_batches]
        smaller = next_smaller(batches, recorder.state.fit)
        raise out_of_memory(recorder.state, smaller) from error


def _write_replay(error: NotFinite, trainer: Trainer) -> None:
    """Write the step as a replay folder, and name it in the error's hint."""
    run = trainer.run
    try:
        path = write_replay(error, run.rows, trainer.engine.parameters(), run.recipe)
    except (OSError, MachineError) as failure:
        trainer.report(Caution(f"cannot write a replay of the step: {failure}"))
        return
    error.hint += f"; `journeyman train --replay {path}` computes the step again"
