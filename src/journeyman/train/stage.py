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
from journeyman.train.batching.batches import (
    OptimiserStep,
    division,
    plan_steps,
    tokens_of_run,
    validated_steps,
)
from journeyman.train.batching.rows import TrainingSplits, read_splits
from journeyman.train.checkpoint.read import Checkpoint
from journeyman.train.checkpoint.result import TrainingResult, write_config
from journeyman.train.checkpoint.resume import (
    clear_debris,
    finished,
    move_aside,
    require_steps_left,
    starting_point,
)
from journeyman.train.engine.choose import compiles
from journeyman.train.engine.int8_accuracy import int8_plan_of
from journeyman.train.engine.learning_rate import warmup_steps
from journeyman.train.forecast.records import Forecast, TimeForecast
from journeyman.train.forecast.tables import told
from journeyman.train.identity import Identity, identity_of, require_same
from journeyman.train.monitor.log_file import LogFile
from journeyman.train.parallel.affinity import take_place_of_torchrun
from journeyman.train.parallel.group import ProcessGroup, joined, require_one
from journeyman.train.resolve_settings import require_usable, resolved

if TYPE_CHECKING:
    from journeyman.train.engine.fast.int8_plan import Int8Plan
    from journeyman.train.loop import TrainingJob


def train(settings: TrainSettings, report: Reporter = ignore) -> TrainingResult:
    """Train the adapter, or go on with a run that was interrupted, or say that it is finished.

    Raises UsageError, DataRefused, MachineError, IntegrityError; Interrupted when stopped.
    """
    require_usable(settings)
    require_one(settings)
    place = take_place_of_torchrun()
    if place is not None and settings.threads is None:
        settings = replace(settings, threads=place.threads)
    with joined() as group:
        if group.rank:
            return _followed(settings, group)
        with folder_lock(settings.output_dir):
            log = LogFile(settings.output_dir, report)
            try:
                trained = _done_or_trained(settings, group, log.report)
            except JourneymanError as error:
                log.failed(error)
                raise
        group.text_from_first(msgspec.json.encode(trained, enc_hook=str).decode())
        return trained


class _Start(Struct, frozen=True):
    """What process 0 tells the others before any of them loads the base."""

    identity: Identity
    is_finished: bool


def _followed(settings: TrainSettings, group: ProcessGroup) -> TrainingResult:
    """The result of a run in which this process computes its share and writes nothing."""
    from journeyman.model.base import find_base

    base = find_base(settings.base, ignore)
    # First, for process 0 leaves the machine's rates and what it calibrated in the cache.
    start = msgspec.json.decode(group.text_from_first(""), type=_Start)
    settings, data = _settled(settings, base, ignore)
    int8_plan = int8_plan_of(settings, base, data.train.used, ignore)
    # Another machine may hold another file under the same name, or lack an instruction.
    identity = _identity(settings, base, int8_plan)
    require_same(start.identity, identity, where="process 0")
    if not start.is_finished:
        from journeyman.train.session import follow_job

        job = _job(settings, data, _planned(settings, data, ignore), int8_plan=int8_plan)
        follow_job(job, base, group)
    return msgspec.json.decode(
        group.text_from_first(""), type=TrainingResult, dec_hook=lambda kind, text: kind(text)
    )


def _done_or_trained(
    settings: TrainSettings, group: ProcessGroup, report: Reporter
) -> TrainingResult:
    from journeyman.model.base import find_base

    report(StageStarted("train", f"`{settings.data_dir}` into `{settings.output_dir}`"))
    clear_debris(settings.output_dir)
    base = find_base(settings.base, report)
    settings, data = _settled(settings, base, report)
    int8_plan = int8_plan_of(settings, base, data.train.used, report)
    identity = _identity(settings, base, int8_plan)
    if settings.fresh and (aside := move_aside(settings.output_dir)):
        report(Note(f"the earlier run was moved to `{aside}`"))
    done = finished(settings, identity, report)
    found = None if done else starting_point(settings, identity, report)
    start = _Start(identity, is_finished=done is not None)
    group.text_from_first(msgspec.json.encode(start).decode())
    if done is not None:
        return done
    return _trained(
        settings,
        base,
        data,
        int8_plan=int8_plan,
        identity=identity,
        found=found,
        group=group,
        report=report,
    )


def _identity(settings: TrainSettings, base: BaseModel, int8_plan: "Int8Plan") -> Identity:
    return identity_of(settings, base, engine=settings.engine, int8_plan_id=int8_plan.id)


def _settled(
    settings: TrainSettings, base: BaseModel, report: Reporter
) -> tuple[TrainSettings, TrainingSplits]:
    """The rows, and the settings with every open choice made."""
    config = read_config(base.folder)
    settings = resolved(settings, config, report)
    data = read_splits(settings, base, report)
    tokens = tokens_of_run([len(row.ids) for row in data.train.used], settings)
    compiled = compiles(settings, config, tokens=tokens, report=report)
    return replace(settings, compiled=compiled), data


def _planned(
    settings: TrainSettings, data: TrainingSplits, report: Reporter
) -> tuple[OptimiserStep, ...]:
    assert settings.accumulation is not None  # resolved
    rows = data.train.used
    steps = plan_steps(
        [len(row.ids) for row in rows],
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        seed=settings.seed,
        divide=division(rows, settings),
    )
    tokens = sum(len(row.ids) for row in rows)
    trained = sum(row.trained_tokens for row in rows)
    warmup = warmup_steps(len(steps), settings.warmup_share)
    report(
        Note(
            f"{len(rows)} rows, {tokens} tokens, {trained} of them trained; {len(steps)} steps of "
            f"{settings.batch_size * settings.accumulation} rows, {warmup} of them warm-up"
        )
    )
    return steps


def _forecast(
    settings: TrainSettings,
    base: BaseModel,
    data: TrainingSplits,
    steps: tuple[OptimiserStep, ...],
    *,
    int8_plan: "Int8Plan",
    report: Reporter,
) -> tuple[Forecast | None, float | None]:
    """What the steps that are left will take, told, and the most tokens a second; None: unknown.

    A short run is not probed: it shows its own pace before a probe would have told it.
    """
    if not steps:
        return None, None
    from journeyman.machine.torch_runtime import using_threads
    from journeyman.train.forecast.base_model import of_folder
    from journeyman.train.forecast.run import IntendedRun
    from journeyman.train.forecast.shape import shape_of
    from journeyman.train.forecast.stage import forecast, limit_tokens_per_s

    run = IntendedRun(
        settings=settings,
        train=data.train,
        val=data.val,
        steps=steps,
        int8_plan=int8_plan,
    )
    described = of_folder(base.name, base.folder)
    with using_threads(settings.threads):
        plan = forecast(run, described, report, probe_short=False)
    for event in told(plan, without=("left-out", "no-validation")):
        report(event)
    return plan, limit_tokens_per_s(plan.machine, run, shape_of(described.config))


def _trained(
    settings: TrainSettings,
    base: BaseModel,
    data: TrainingSplits,
    *,
    int8_plan: "Int8Plan",
    identity: Identity,
    found: Checkpoint | None,
    group: ProcessGroup,
    report: Reporter,
) -> TrainingResult:
    steps = _planned(settings, data, report)
    require_steps_left(found, len(steps))
    plan, limit = None, None
    if group.size > 1:
        # A forecast is of one process; the time left is measured as the run goes on.
        _report_shares(steps, data, group, report)
    else:
        left = steps[found.state.step :] if found else steps
        plan, limit = _forecast(settings, base, data, left, int8_plan=int8_plan, report=report)
    write_config(
        settings,
        identity,
        facts={
            "steps": len(steps),
            "train_rows": len(data.train.used),
            "val_rows": len(data.val.used),
            "plan": plan,
            "calibrated_wide": sorted(int8_plan.wide),
            "left_out": {"train": data.train.left_out, "val": data.val.left_out},
        },
    )
    # Here and not above: a run that is refused or finished needs no torch.
    from journeyman.train.session import run_job

    job = _job(
        settings,
        data,
        steps,
        int8_plan=int8_plan,
        hours=plan.hours if plan else None,
        limit=limit,
    )
    return run_job(job, base, identity, found, group=group, report=report)


def _job(
    settings: TrainSettings,
    data: TrainingSplits,
    steps: tuple[OptimiserStep, ...],
    *,
    int8_plan: "Int8Plan",
    hours: TimeForecast | None = None,
    limit: float | None = None,
) -> "TrainingJob":
    from journeyman.train.loop import TrainingJob

    return TrainingJob(
        settings=settings,
        rows=data.train.used,
        val_rows=data.val.used,
        steps=steps,
        validated_steps=validated_steps(settings, steps),
        int8_plan=int8_plan,
        hours=hours,
        limit_tokens_per_s=limit,
    )


def _report_shares(
    steps: tuple[OptimiserStep, ...], data: TrainingSplits, group: ProcessGroup, report: Reporter
) -> None:
    from journeyman.train.gradient_sync import busy_share

    lengths = [len(row.ids) for row in data.train.used]
    busy = busy_share([step.micro_batches for step in steps], lengths, group.size)
    report(
        Note(
            f"{group.size} processes share the micro-batches of each step; by tokens each works "
            f"{busy:.0%} of the time"
        )
    )
