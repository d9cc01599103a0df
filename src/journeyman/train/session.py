"""One process's share of a run: load the base, restore, take the steps, write the result.

Every process of a data parallel run does the same. Rank 0 also records: it has the heartbeat, the
checkpoints, the curves and the result; the others have silent ones.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from msgspec.structs import replace

from journeyman.errors import IntegrityError, Interrupted, MachineError
from journeyman.events import Caution, Note, Reporter
from journeyman.machine.torch_runtime import freed_memory_kept, using_threads
from journeyman.model.adapter_files import read_weights
from journeyman.records import BaseModel
from journeyman.train.checkpoint.read import GRADIENTS, OPTIMIZER, Checkpoint
from journeyman.train.checkpoint.replay import write_replay
from journeyman.train.checkpoint.result import TrainingResult, write_final
from journeyman.train.engine.adapter_parameters import copy_into, initialise
from journeyman.train.engine.devices import CPU, gpu_peak_bytes
from journeyman.train.engine.factory import open_engine
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.gradient_sync import gather_gradients, share_start
from journeyman.train.identity import Change, Identity
from journeyman.train.loop import Trainer, TrainingJob
from journeyman.train.monitor.loss_plot import draw_losses
from journeyman.train.monitor.loss_warnings import LossWarnings, NotFinite
from journeyman.train.monitor.progress import Meter, Pace
from journeyman.train.monitor.status import Heartbeat, SilentHeartbeat, heartbeat
from journeyman.train.monitor.tensorboard import TensorBoardWriter
from journeyman.train.out_of_memory import (
    OutOfMemory,
    OutOfMemoryHandler,
    is_out_of_memory,
    next_smaller,
    out_of_memory,
    outage,
    read_start,
    write_start,
)
from journeyman.train.parallel.group import PeerLost, ProcessGroup
from journeyman.train.recorder import Recorder, SilentRecorder
from journeyman.train.state import State, arithmetic, with_change
from journeyman.train.stop_signal import Stopped, StopRequest


def run_job(
    job: TrainingJob,
    base: BaseModel,
    identity: Identity,
    checkpoint: Checkpoint | None,
    *,
    group: ProcessGroup,
    report: Reporter,
) -> TrainingResult | None:
    """Take this process's share of the steps that are left; rank 0 writes `final_model/`.

    checkpoint: what rank 0 goes on from; None for a new run and in every other process. Gives None
    in every process but rank 0. Raises what ends the run early.
    """
    settings = job.settings
    before = outage(settings.output_dir) if group.is_first else None
    if before is not None:
        report(before.caution())
    with (
        _heartbeat_of(job, group, report) as beating,
        StopRequest(patient=False) as stop,
        using_threads(settings.threads) as threads,
        freed_memory_kept(job.recipe.spares_memory),
    ):
        if settings.device == CPU:
            report(Note(f"threads: {threads}"))
        engine = open_engine(base, job.recipe, report)
        optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)
        oom_handler = OutOfMemoryHandler(
            engine,
            allowed=settings.fit,
            adopted=partial(write_start, settings.output_dir) if group.is_first else _keep_nothing,
            report=report,
        )
        state = None
        if group.is_first:
            fresh = State(identity, arithmetic(group.size, settings.device))
            state = _start(
                job, fresh, checkpoint, engine=engine, optimizer=optimizer, report=report
            )
            if before is not None and before.for_memory and not before.is_of_the_base:
                batches = [batch for step in job.steps for batch in step.micro_batches]
                state = oom_handler.after_kill(state, batches)
            write_start(settings.output_dir, state.fit)
        state = _shared(group, state, optimizer, checkpoint)
        oom_handler.apply(state.fit)
        stop.patient = True
        trainer = Trainer(
            engine=engine,
            optimizer=optimizer,
            oom_handler=oom_handler,
            job=job,
            stop=stop,
            meter=_meter(state, job, beating, report),
            report=report,
            group=group,
        )
        with _recorder_of(trainer, state) as recorder:
            state = _trained(trainer, recorder)
        recorder.report_cost()
        if (peak := gpu_peak_bytes()) is not None:
            report(Note(f"peak GPU memory: {peak / 2**30:.1f} GiB"))
        return write_final(settings, base, state, engine.parameters()) if group.is_first else None


def _keep_nothing(_: object) -> None:
    """Rank 0 writes what a run leaves on the disk."""


def _heartbeat_of(
    job: TrainingJob, group: ProcessGroup, report: Reporter
) -> contextlib.AbstractContextManager[Heartbeat]:
    if not group.is_first:
        return contextlib.nullcontext(SilentHeartbeat())
    return heartbeat(job.settings.output_dir, report, process_count=group.size)


def _start(
    job: TrainingJob,
    fresh: State,
    checkpoint: Checkpoint | None,
    *,
    engine: TrainingEngine,
    optimizer: Optimizer,
    report: Reporter,
) -> State:
    """The state that rank 0 begins with, its parameters and moments in place."""
    state = replace(fresh, fit=read_start(job.settings.output_dir).fit)
    if checkpoint is None:
        initialise(engine.parameters(), seed=job.settings.seed)
        return state
    state = _restored(checkpoint, state, engine, optimizer)
    _report_restored(checkpoint, state, len(job.steps), report)
    return state


def _restored(
    checkpoint: Checkpoint, start: State, engine: TrainingEngine, optimizer: Optimizer
) -> State:
    """The checkpoint's state, with its parameters and moments in place."""
    state = checkpoint.state
    try:
        copy_into(engine.parameters(), read_weights(checkpoint.folder))
        if state.step:
            optimizer.restore(_tensors(checkpoint.folder / OPTIMIZER), step=state.step)
        if start.fit.halvings > state.fit.halvings or start.fit.recompute > state.fit.recompute:
            # The process that ran out of memory did not live to write a checkpoint.
            change = Change(state.step, "fit", str(state.fit), str(start.fit))
            state = replace(with_change(state, change), fit=start.fit)
    except (KeyError, ValueError) as error:
        raise _misfit(checkpoint, error) from error
    if state.arithmetic == start.arithmetic:
        return state
    change = Change(state.step, "arithmetic", state.arithmetic, start.arithmetic)
    return replace(state, arithmetic=start.arithmetic, lineage=(*state.lineage, change))


def _report_restored(checkpoint: Checkpoint, state: State, steps: int, report: Reporter) -> None:
    inside = f", micro-batch {state.micro_batch} of the next" if state.micro_batch else ""
    report(Note(f"resuming from `{checkpoint.folder}`, step {state.step} of {steps}{inside}"))
    before = checkpoint.state.arithmetic
    if before != state.arithmetic:
        report(
            Caution(
                f"the run began with {before} and goes on with {state.arithmetic}: its result will "
                "not equal an uninterrupted one bit for bit",
                hint="use the same --threads and versions if that matters",
            )
        )


def _shared(
    group: ProcessGroup, state: State | None, optimizer: Optimizer, checkpoint: Checkpoint | None
) -> State:
    """The state that every process begins with; gradients too if it is inside a step.

    state: None in every process but rank 0.
    """
    if checkpoint is None or state is None or state.in_step is None:
        return share_start(group, state, optimizer, {})
    try:
        return share_start(group, state, optimizer, _tensors(checkpoint.folder / GRADIENTS))
    except (KeyError, ValueError) as error:
        raise _misfit(checkpoint, error) from error


def _misfit(checkpoint: Checkpoint, error: KeyError | ValueError) -> IntegrityError:
    return IntegrityError(
        f"`{checkpoint.folder}` does not fit the model: {error}",
        hint="go on with the version that wrote it, or use --fresh",
    )


def _meter(state: State, job: TrainingJob, beating: Heartbeat, report: Reporter) -> Meter:
    rows, forecast = job.rows, job.forecast
    machine = forecast.machine if forecast else None
    return Meter(
        state,
        Pace(
            steps=len(job.steps),
            validations=job.validations,
            forecast=forecast.hours if forecast else None,
        ),
        steps=len(job.steps),
        tokens=sum(len(rows[index].ids) for step in job.steps for index in step.rows),
        validation_tokens=sum(len(row.ids) for row in job.val_rows),
        limit_tokens_per_s=machine.limit_tokens_per_s if machine else None,
        heartbeat=beating,
        report=report,
    )


@contextlib.contextmanager
def _recorder_of(trainer: Trainer, state: State) -> Iterator[Recorder | SilentRecorder]:
    """What keeps the states of this process; rank 0 also draws the losses at the end."""
    if not trainer.group.is_first:
        yield SilentRecorder(state)
        return
    job, report = trainer.job, trainer.report
    with TensorBoardWriter(job.settings.output_dir / "logs", state, report) as tensorboard:
        recorder = Recorder(
            job.settings,
            state,
            steps=len(job.steps),
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
            # Of an interrupted run, too: its user wants to see how far it came.
            _draw(recorder.state, job, report)


def _draw(state: State, job: TrainingJob, report: Reporter) -> None:
    if not (state.taken or state.validations):
        return
    path = job.settings.output_dir / "losses.png"
    try:
        draw_losses(path, state, steps=len(job.steps))
    except OSError as error:
        report(Caution(f"`{path}` cannot be written: {error.strerror or error}"))


def _trained(trainer: Trainer, recorder: Recorder | SilentRecorder) -> State:
    """The state after the last step. A run that ends early leaves everything to go on from."""
    try:
        return trainer.fit(recorder.state, recorder.record)
    except Stopped as error:
        recorder.save(error.state, gather_gradients(trainer.group, error.state, trainer.optimizer))
        raise Interrupted(f"{error.message}; {recorder.saved}", hint=error.hint) from error
    except (OutOfMemory, PeerLost):
        # Raised between updates, so the parameters are still those of the last step.
        recorder.save(recorder.state)
        raise
    except NotFinite as error:
        if trainer.group.is_first:
            _keep_for_replay(error, trainer)
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # Inside an update: the parameters may be half changed, and nothing is saved.
        batches = [x for step in trainer.job.steps for x in step.micro_batches]
        smaller = next_smaller(batches, recorder.state.fit, trainer.engine)
        raise out_of_memory(recorder.state, smaller) from error


def _keep_for_replay(error: NotFinite, trainer: Trainer) -> None:
    job = trainer.job
    try:
        path = write_replay(error, job.rows, trainer.engine.parameters(), job.recipe)
    except (OSError, MachineError) as failure:
        trainer.report(Caution(f"the step could not be kept for a replay: {failure}"))
        return
    error.hint += f"; `journeyman train --replay {path}` computes the step again"


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors
