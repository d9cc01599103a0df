"""`train`: from a dataset and a base model to a LoRA adapter; safe to stop and to run again."""

from dataclasses import replace

import msgspec
from msgspec import Struct

from journeyman.errors import JourneymanError
from journeyman.events import Note, Reporter, StageStarted, ignore
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.runs import folder_lock
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TrainingSplits, read_splits
from journeyman.train.check_settings import require_usable
from journeyman.train.checkpoint.read import Checkpoint
from journeyman.train.checkpoint.result import FINAL, FinalModel, TrainingResult, write_config
from journeyman.train.checkpoint.resume import (
    checkpoint_to_resume,
    finished_result,
    move_aside,
    remove_temporary_files,
    require_steps_left,
)
from journeyman.train.engine.int8_accuracy import calibrate
from journeyman.train.engine.learning_rate import warmup_steps
from journeyman.train.engine.recipe import Recipe, decide, for_rows
from journeyman.train.forecast.records import Forecast
from journeyman.train.forecast.run import IntendedRun, run_of
from journeyman.train.forecast.tables import forecast_events
from journeyman.train.identity import Identity, identity_of, require_same
from journeyman.train.monitor.log_file import LogFile
from journeyman.train.parallel.affinity import bind_torchrun_process
from journeyman.train.parallel.group import ProcessGroup, process_group, require_single_process

# Findings of a forecast that `read_splits` has already reported.
_REPORTED = ("left-out", "no-validation")


class _SharedStart(Struct, frozen=True):
    """What rank 0 sends to the other processes before they load the base model."""

    identity: Identity
    is_finished: bool


def train(settings: TrainSettings, report: Reporter = ignore) -> TrainingResult:
    """Train the adapter, go on with an interrupted run, or report that the run is finished.

    Raises UsageError, DataRefused, MachineError, IntegrityError; Interrupted when stopped.
    """
    require_usable(settings)
    require_single_process(settings)
    cpu_set = bind_torchrun_process()
    if cpu_set is not None and settings.threads is None:
        settings = replace(settings, threads=cpu_set.threads)
    with process_group() as group:
        if not group.is_first:
            return _run_other_rank(settings, group)
        with folder_lock(settings.output_dir):
            log = LogFile(settings.output_dir, report)
            try:
                result = _run_rank_0(settings, group, log.report)
            except JourneymanError as error:
                log.failed(error)
                raise
        group.broadcast_text(msgspec.json.encode(result.final).decode())
        return result


def _run_rank_0(settings: TrainSettings, group: ProcessGroup, report: Reporter) -> TrainingResult:
    """The result of a run, as the process that decides where to go on from and writes all files."""
    from journeyman.model.base import find_base

    report(StageStarted("train", f"`{settings.data_dir}` into `{settings.output_dir}`"))
    remove_temporary_files(settings.output_dir)
    base = find_base(settings.base, report)
    recipe, splits = _decide(settings, base, report)
    identity = _identity(recipe, base)
    if settings.fresh and (aside := move_aside(settings.output_dir)):
        report(Note(f"the earlier run was moved to `{aside}`"))
    finished = finished_result(recipe.settings, identity, report)
    checkpoint = None if finished else checkpoint_to_resume(recipe.settings, identity, report)
    start = _SharedStart(identity, is_finished=finished is not None)
    group.broadcast_text(msgspec.json.encode(start).decode())
    if finished is not None:
        return finished
    run = run_of(recipe, splits.train, splits.val)
    _report_run(run, group, report)
    require_steps_left(checkpoint, len(run.steps))
    # A data parallel run has no forecast; its throughput is measured as it goes on.
    forecast = _forecast(run, checkpoint, base, report) if group.size == 1 else None
    _write_config(run, identity, forecast)
    # Imported here, because a run that is refused or finished needs no torch.
    from journeyman.train.session import Session

    session = Session(
        run=run,
        base=base,
        identity=identity,
        group=group,
        report=report,
        checkpoint=checkpoint,
        forecast=forecast,
    )
    result = session.train()
    assert result is not None  # rank 0 has one
    return result


def _run_other_rank(settings: TrainSettings, group: ProcessGroup) -> TrainingResult:
    """The result of a run in which this process computes its micro-batches and writes nothing."""
    from journeyman.model.base import find_base

    base = find_base(settings.base, ignore)
    # Rank 0 goes first, so that the measured rates and the calibration are in the cache.
    start = msgspec.json.decode(group.broadcast_text(""), type=_SharedStart)
    recipe, splits = _decide(settings, base, ignore)
    identity = _identity(recipe, base)
    # Another machine may have another file with the same name, or lack an instruction.
    require_same(start.identity, identity, where="rank 0")
    if not start.is_finished:
        run = run_of(recipe, splits.train, splits.val)
        from journeyman.train.session import Session

        Session(run=run, base=base, identity=identity, group=group, report=ignore).train()
    final = msgspec.json.decode(group.broadcast_text(""), type=FinalModel)
    return TrainingResult(settings.output_dir / FINAL, final)


def _decide(
    settings: TrainSettings, base: BaseModel, report: Reporter
) -> tuple[Recipe, TrainingSplits]:
    """The recipe with every choice made, and the rows."""
    recipe = decide(settings, read_config(base.folder), report)
    splits = read_splits(settings, base, report)
    recipe = for_rows(recipe, [len(row.ids) for row in splits.train.used], report)
    return calibrate(recipe, base, splits.train.used, report), splits


def _identity(recipe: Recipe, base: BaseModel) -> Identity:
    return identity_of(recipe.settings, base, int8_plan_id=recipe.int8_plan_id)


def _report_run(run: IntendedRun, group: ProcessGroup, report: Reporter) -> None:
    """Report what the run will compute, and how its processes share it."""
    rows, steps = run.rows, run.steps
    tokens = sum(len(row.ids) for row in rows)
    trained = sum(row.trained_tokens for row in rows)
    warmup = warmup_steps(len(steps), run.settings.warmup_share)
    report(
        Note(
            f"{len(rows)} rows, {tokens} tokens, {trained} of them trained; {len(steps)} steps of "
            f"{run.rows_a_step} rows, {warmup} of them warm-up"
        )
    )
    if group.size == 1:
        return
    from journeyman.train.gradient_sync import busy_share

    busy = busy_share(
        [step.micro_batches for step in steps], [len(row.ids) for row in rows], group.size
    )
    report(
        Note(
            f"data parallel: {group.size} processes share the micro-batches of each step, and each "
            f"computes about {busy:.0%} of the time (by tokens)"
        )
    )


def _forecast(
    run: IntendedRun, checkpoint: Checkpoint | None, base: BaseModel, report: Reporter
) -> Forecast | None:
    """The forecast for the steps that are left, reported; None if none is left.

    A short run is not probed, because it shows its throughput sooner than a probe would.
    """
    left = run.steps[checkpoint.state.step :] if checkpoint else run.steps
    if not left:
        return None
    from journeyman.machine.torch_runtime import using_threads
    from journeyman.train.forecast.stage import forecast

    with using_threads(run.settings.threads):
        result = forecast(replace(run, steps=left), base.name, report, probe_short=False)
    for event in forecast_events(result, without=_REPORTED):
        report(event)
    return result


def _write_config(run: IntendedRun, identity: Identity, forecast: Forecast | None) -> None:
    fast = run.recipe.fast
    write_config(
        run.settings,
        identity,
        facts={
            "steps": len(run.steps),
            "train_rows": len(run.rows),
            "val_rows": len(run.val_rows),
            "plan": forecast,
            "calibrated_full_precision": sorted(fast.int8_plan.full_precision) if fast else [],
            "left_out": {"train": run.train.left_out, "val": run.val.left_out},
        },
    )
