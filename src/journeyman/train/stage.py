"""`train`: a dataset and a base model in, a LoRA adapter out; safe to stop and to run again."""

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import JourneymanError
from journeyman.events import Note, Reporter, StageStarted, ignore
from journeyman.model.base import read_config
from journeyman.records import BaseModel
from journeyman.runs import folder_lock
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import validated_steps
from journeyman.train.batching.rows import TrainingSplits, read_splits
from journeyman.train.check_settings import require_usable
from journeyman.train.checkpoint.read import Checkpoint
from journeyman.train.checkpoint.result import TrainingResult, write_config
from journeyman.train.checkpoint.resume import (
    clear_debris,
    finished,
    move_aside,
    require_steps_left,
    starting_point,
)
from journeyman.train.engine.int8_accuracy import calibrated
from journeyman.train.engine.learning_rate import warmup_steps
from journeyman.train.engine.recipe import Recipe, decide, for_rows
from journeyman.train.forecast.records import Forecast
from journeyman.train.forecast.run import IntendedRun, run_of
from journeyman.train.forecast.tables import told
from journeyman.train.identity import Identity, identity_of, require_same
from journeyman.train.monitor.log_file import LogFile
from journeyman.train.parallel.affinity import take_place_of_torchrun
from journeyman.train.parallel.group import ProcessGroup, joined, require_one

if TYPE_CHECKING:
    from journeyman.train.loop import TrainingJob


def train(settings: TrainSettings, report: Reporter = ignore) -> TrainingResult:
    """Train the adapter, or go on with an interrupted run, or report that it is finished.

    Raises UsageError, DataRefused, MachineError, IntegrityError; Interrupted when stopped.
    """
    require_usable(settings)
    require_one(settings)
    place = take_place_of_torchrun()
    if place is not None and settings.threads is None:
        settings = replace(settings, threads=place.threads)
    with joined() as group:
        if not group.is_first:
            return _follow(settings, group)
        with folder_lock(settings.output_dir):
            log = LogFile(settings.output_dir, report)
            try:
                result = _lead(settings, group, log.report)
            except JourneymanError as error:
                log.failed(error)
                raise
        group.text_from_first(msgspec.json.encode(result, enc_hook=str).decode())
        return result


class _Start(Struct, frozen=True):
    """What rank 0 sends to the others before any of them loads the base."""

    identity: Identity
    is_finished: bool


def _lead(settings: TrainSettings, group: ProcessGroup, report: Reporter) -> TrainingResult:
    """The result of a run as rank 0, which decides where to go on from and writes everything."""
    from journeyman.model.base import find_base

    report(StageStarted("train", f"`{settings.data_dir}` into `{settings.output_dir}`"))
    clear_debris(settings.output_dir)
    base = find_base(settings.base, report)
    recipe, splits = _decided(settings, base, report)
    identity = _identity(recipe, base)
    if settings.fresh and (aside := move_aside(settings.output_dir)):
        report(Note(f"the earlier run was moved to `{aside}`"))
    done = finished(recipe.settings, identity, report)
    checkpoint = None if done else starting_point(recipe.settings, identity, report)
    start = _Start(identity, is_finished=done is not None)
    group.text_from_first(msgspec.json.encode(start).decode())
    if done is not None:
        return done
    run = run_of(recipe, splits.train, splits.val)
    _report_plan(run, group, report)
    require_steps_left(checkpoint, len(run.steps))
    # The time of a data parallel run is not forecast: it is measured as the run goes on.
    forecast = _forecast(run, checkpoint, base, report) if group.size == 1 else None
    _write_config(run, identity, forecast)
    result = _run(run, base, identity, checkpoint, forecast=forecast, group=group, report=report)
    assert result is not None  # rank 0 has one
    return result


def _follow(settings: TrainSettings, group: ProcessGroup) -> TrainingResult:
    """The result of a run in which this process computes its share and writes nothing."""
    from journeyman.model.base import find_base

    base = find_base(settings.base, ignore)
    # Received first: rank 0 leaves the machine's rates and its calibration in the cache.
    start = msgspec.json.decode(group.text_from_first(""), type=_Start)
    recipe, splits = _decided(settings, base, ignore)
    identity = _identity(recipe, base)
    # Another machine may hold another file under the same name, or lack an instruction.
    require_same(start.identity, identity, where="process 0")
    if not start.is_finished:
        run = run_of(recipe, splits.train, splits.val)
        _run(run, base, identity, None, forecast=None, group=group, report=ignore)
    return msgspec.json.decode(
        group.text_from_first(""), type=TrainingResult, dec_hook=lambda kind, text: kind(text)
    )


def _decided(
    settings: TrainSettings, base: BaseModel, report: Reporter
) -> tuple[Recipe, TrainingSplits]:
    """The recipe with every choice made, and the rows."""
    recipe = decide(settings, read_config(base.folder), report)
    splits = read_splits(settings, base, report)
    recipe = for_rows(recipe, [len(row.ids) for row in splits.train.used], report)
    return calibrated(recipe, base, splits.train.used, report), splits


def _identity(recipe: Recipe, base: BaseModel) -> Identity:
    return identity_of(recipe.settings, base, int8_plan_id=recipe.int8_plan_id)


def _report_plan(run: IntendedRun, group: ProcessGroup, report: Reporter) -> None:
    """Report what the run will compute and how its processes share it."""
    settings, rows, steps = run.settings, run.train.used, run.steps
    assert settings.accumulation is not None  # resolved
    tokens = sum(len(row.ids) for row in rows)
    trained = sum(row.trained_tokens for row in rows)
    warmup = warmup_steps(len(steps), settings.warmup_share)
    report(
        Note(
            f"{len(rows)} rows, {tokens} tokens, {trained} of them trained; {len(steps)} steps of "
            f"{settings.batch_size * settings.accumulation} rows, {warmup} of them warm-up"
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
            f"data parallel: {group.size} processes share the micro-batches of each step; by "
            f"tokens each works {busy:.0%} of the time"
        )
    )


def _forecast(
    run: IntendedRun, checkpoint: Checkpoint | None, base: BaseModel, report: Reporter
) -> Forecast | None:
    """What the steps that are left will take, reported; None if none is left.

    A short run is not probed: it shows its own throughput before a probe would.
    """
    left = run.steps[checkpoint.state.step :] if checkpoint else run.steps
    if not left:
        return None
    from journeyman.machine.torch_runtime import using_threads
    from journeyman.train.forecast.stage import forecast

    with using_threads(run.settings.threads):
        found = forecast(replace(run, steps=left), base.name, report, probe_short=False)
    for event in told(found, without=("left-out", "no-validation")):
        report(event)
    return found


def _write_config(run: IntendedRun, identity: Identity, forecast: Forecast | None) -> None:
    fast = run.recipe.fast
    write_config(
        run.settings,
        identity,
        facts={
            "steps": len(run.steps),
            "train_rows": len(run.train.used),
            "val_rows": len(run.val.used),
            "plan": forecast,
            "calibrated_full_precision": sorted(fast.int8_plan.full_precision) if fast else [],
            "left_out": {"train": run.train.left_out, "val": run.val.left_out},
        },
    )


def _run(
    run: IntendedRun,
    base: BaseModel,
    identity: Identity,
    checkpoint: Checkpoint | None,
    *,
    forecast: Forecast | None,
    group: ProcessGroup,
    report: Reporter,
) -> TrainingResult | None:
    # Imported here: a run that is refused or finished needs no torch.
    from journeyman.train.session import run_job

    return run_job(_job(run, forecast), base, identity, checkpoint, group=group, report=report)


def _job(run: IntendedRun, forecast: Forecast | None) -> "TrainingJob":
    from journeyman.train.loop import TrainingJob

    return TrainingJob(
        recipe=run.recipe,
        rows=run.train.used,
        val_rows=run.val.used,
        steps=run.steps,
        validated_steps=validated_steps(run.settings, run.steps),
        forecast=forecast,
    )
