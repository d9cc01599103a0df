"""One process's share of a run: load, restore, fit, and write the result.

The other processes of a run: they compute what process 0 writes down, and write nothing.
"""

from pathlib import Path

import torch
from msgspec.structs import replace

from journeyman.errors import IntegrityError, Interrupted, MachineError
from journeyman.events import Caution, Note, Reporter, ignore
from journeyman.machine.torch_runtime import freed_memory_kept, using_threads
from journeyman.model.adapter_files import read_weights
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.train.checkpoint.read import GRADIENTS, OPTIMIZER, Checkpoint
from journeyman.train.checkpoint.replay import write_replay
from journeyman.train.checkpoint.result import TrainingResult, write_final
from journeyman.train.engine.adapter_parameters import copy_into, initialise
from journeyman.train.engine.devices import CPU, gpu_peak_bytes
from journeyman.train.engine.factory import open_engine, spares_memory
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.gradient_sync import gather_gradients, share_start
from journeyman.train.identity import Change, Identity
from journeyman.train.loop import Trainer, TrainingJob
from journeyman.train.monitor.loss_plot import draw_losses
from journeyman.train.monitor.loss_warnings import LossWarnings, NotFinite
from journeyman.train.monitor.progress import Meter, Pace
from journeyman.train.monitor.status import Heartbeat, Status, heartbeat, new_status
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
from journeyman.train.recorder import Recorder
from journeyman.train.state import State, arithmetic, with_change
from journeyman.train.stop_signal import Stopped, StopRequest


def run_job(
    job: TrainingJob,
    base: BaseModel,
    identity: Identity,
    found: Checkpoint | None,
    *,
    group: ProcessGroup,
    report: Reporter,
) -> TrainingResult:
    """Load the base, take the steps that are left, and write `final_model/`; as process 0."""
    settings = job.settings
    before = outage(settings.output_dir)
    if before is not None:
        report(before.caution())
    with (
        heartbeat(settings.output_dir, report, process_count=group.size) as beating,
        StopRequest(patient=False) as stop,
        using_threads(settings.threads) as threads,
        freed_memory_kept(spares_memory(read_config(base.folder), settings)),
    ):
        if settings.device == CPU:
            report(Note(f"threads: {threads}"))
        engine = open_engine(base, settings, report, int8_plan=job.int8_plan)
        optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)
        fitter = OutOfMemoryHandler(
            engine,
            allowed=settings.fit,
            adopted=lambda fit: write_start(settings.output_dir, fit),
            report=report,
        )
        state = State(
            identity,
            arithmetic(group.size, settings.device),
            fit=read_start(settings.output_dir).fit,
        )
        if found is None:
            initialise(engine.parameters(), seed=settings.seed)
        else:
            state = _restored(found, state, engine, optimizer)
            _report_restored(found, state, len(job.steps), report)
        fitter.apply(state.fit)
        if before is not None and before.for_memory and not before.is_of_the_base:
            state = fitter.after_kill(state, [x for step in job.steps for x in step.micro_batches])
        write_start(settings.output_dir, state.fit)
        state = _shared_start(group, state, optimizer, found)
        stop.patient = True
        meter = meter_of(state, job, beating, report)
        with TensorBoardWriter(settings.output_dir / "logs", state, report) as curves:
            recorder = Recorder(
                settings,
                state,
                steps=len(job.steps),
                parameters=engine.parameters(),
                optimizer=optimizer,
                curves=curves,
                adviser=LossWarnings(report),
                meter=meter,
                report=report,
            )
            trainer = Trainer(
                engine=engine,
                optimizer=optimizer,
                fitter=fitter,
                job=job,
                stop=stop,
                meter=meter,
                report=report,
                group=group,
            )
            try:
                state = _fitted(trainer, recorder)
            finally:
                # Of an interrupted run, too: what it has reached is what its user wants to see.
                _draw(recorder.state, job, report)
        recorder.report_cost()
        if (peak := gpu_peak_bytes()) is not None:
            report(Note(f"GPU memory: {peak / 2**30:.1f} GiB at its peak"))
        return write_final(settings, base, state, engine.parameters())


def meter_of(state: State, job: TrainingJob, beating: Heartbeat, report: Reporter) -> Meter:
    """The meter of a run that begins with a state."""
    rows = job.rows
    return Meter(
        state,
        Pace(steps=len(job.steps), looks=job.looks, hours=job.hours),
        steps=len(job.steps),
        tokens=sum(len(rows[index].ids) for step in job.steps for index in step.rows),
        validation_tokens=sum(len(row.ids) for row in job.val_rows),
        limit_tokens_per_s=job.limit_tokens_per_s,
        heartbeat=beating,
        report=report,
    )


def _draw(state: State, job: TrainingJob, report: Reporter) -> None:
    if not (state.taken or state.validations):
        return
    path = job.settings.output_dir / "losses.png"
    try:
        draw_losses(path, state, steps=len(job.steps))
    except OSError as error:
        report(Caution(f"`{path}` cannot be written: {error.strerror or error}"))


def _fitted(trainer: Trainer, recorder: Recorder) -> State:
    """The state at the end; what ends a run early leaves behind all that can be gone on from."""
    try:
        return trainer.fit(recorder.state, recorder.record)
    except Stopped as error:
        recorder.save(error.state, gather_gradients(trainer.group, error.state, trainer.optimizer))
        raise Interrupted(f"{error.message}; {recorder.saved}", hint=error.hint) from error
    except (OutOfMemory, PeerLost):
        # Raised between updates, so that the parameters are still those of the last step.
        recorder.save(recorder.state)
        raise
    except NotFinite as error:
        _leave_replay(error, trainer)
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # Inside of an update: the parameters may be half changed, and nothing is saved.
        batches = [x for step in trainer.job.steps for x in step.micro_batches]
        smaller = next_smaller(batches, recorder.state.fit, trainer.engine)
        raise out_of_memory(recorder.state, smaller) from error


def _leave_replay(error: NotFinite, trainer: Trainer) -> None:
    job = trainer.job
    try:
        path = write_replay(
            error, job.rows, trainer.engine.parameters(), job.settings, job.int8_plan
        )
    except (OSError, MachineError) as failure:
        trainer.report(Caution(f"the step could not be kept for a replay: {failure}"))
        return
    error.hint += f"; `journeyman train --replay {path}` computes the step again"


def _restored(
    found: Checkpoint, start: State, engine: TrainingEngine, optimizer: Optimizer
) -> State:
    """The state to go on from, with parameters, moments and gradients in place."""
    state = found.state
    try:
        copy_into(engine.parameters(), read_weights(found.folder))
        if state.step:
            optimizer.restore(_tensors(found.folder / OPTIMIZER), step=state.step)
        if start.fit.halvings > state.fit.halvings or start.fit.recompute > state.fit.recompute:
            # The process that found out that memory does not suffice has not reached a checkpoint.
            change = Change(state.step, "fit", str(state.fit), str(start.fit))
            state = replace(with_change(state, change), fit=start.fit)
    except (KeyError, ValueError) as error:
        raise _misfit(found, error) from error
    if state.arithmetic == start.arithmetic:
        return state
    change = Change(state.step, "arithmetic", state.arithmetic, start.arithmetic)
    return replace(state, arithmetic=start.arithmetic, lineage=(*state.lineage, change))


def _shared_start(
    group: ProcessGroup, state: State, optimizer: Optimizer, found: Checkpoint | None
) -> State:
    """The state that every process begins with, with gradients in place where it is in a step."""
    if found is None or state.in_step is None:
        return share_start(group, state, optimizer, {})
    try:
        return share_start(group, state, optimizer, _tensors(found.folder / GRADIENTS))
    except (KeyError, ValueError) as error:
        raise _misfit(found, error) from error


def _misfit(found: Checkpoint, error: KeyError | ValueError) -> IntegrityError:
    return IntegrityError(
        f"`{found.folder}` does not fit the model: {error}",
        hint="go on with the version that wrote it, or use --fresh",
    )


def _report_restored(found: Checkpoint, state: State, steps: int, report: Reporter) -> None:
    inside = f", micro-batch {state.micro_batch} of the next" if state.micro_batch else ""
    report(Note(f"going on from `{found.folder}`, step {state.step} of {steps}{inside}"))
    if found.state.arithmetic != state.arithmetic:
        report(
            Caution(
                f"the run began with {found.state.arithmetic} and goes on with {state.arithmetic}: "
                "its result will not be equal bit for bit to an uninterrupted one",
                hint="use the same --threads and versions where that matters",
            )
        )


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


class SilentHeartbeat(Heartbeat):
    """A heartbeat that nobody hears: process 0 speaks for the run."""

    def __init__(self) -> None:
        self.status = new_status("starting")

    def beat(self, status: Status) -> None:
        """Say nothing."""


def follow_job(job: TrainingJob, base: BaseModel, group: ProcessGroup) -> None:
    """Take this process's share of all steps that are left. Raises what ends the run early."""
    settings = job.settings
    with (
        StopRequest(patient=False) as stop,
        using_threads(settings.threads),
        freed_memory_kept(spares_memory(read_config(base.folder), settings)),
    ):
        engine = open_engine(base, settings, ignore, int8_plan=job.int8_plan)
        optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)
        fitter = OutOfMemoryHandler(
            engine, allowed=settings.fit, adopted=lambda _: None, report=ignore
        )
        state = share_start(group, None, optimizer, {})
        fitter.apply(state.fit)
        stop.patient = True
        meter = meter_of(state, job, SilentHeartbeat(), ignore)
        trainer = Trainer(
            engine=engine,
            optimizer=optimizer,
            fitter=fitter,
            job=job,
            stop=stop,
            meter=meter,
            report=ignore,
            group=group,
        )
        try:
            trainer.fit(state, lambda _: None)
        except Stopped as error:
            gather_gradients(group, error.state, optimizer)
            raise
