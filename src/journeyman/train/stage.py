"""`train`: a dataset and a base model in, a LoRA adapter out; safe to stop and to run again."""

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from journeyman.errors import JourneymanError
from journeyman.events import Note, Reporter, StageStarted, ignore
from journeyman.model.configs import read_config
from journeyman.records import BaseModel
from journeyman.runs import owned
from journeyman.settings import TrainSettings
from journeyman.train.arithmetic import compiles
from journeyman.train.batches import OptimiserStep, plan_steps, tokens_of_run, validated_steps
from journeyman.train.checkpoints import Checkpoint
from journeyman.train.earlier import (
    clear_debris,
    finished,
    move_aside,
    require_steps_left,
    starting_point,
)
from journeyman.train.exactness import narrowing_of
from journeyman.train.identity import Identity, identity_of, require_same
from journeyman.train.log_file import LogFile
from journeyman.train.outputs import TrainingResult, write_config
from journeyman.train.places import take_place_of_torchrun
from journeyman.train.plan.lines import told
from journeyman.train.plan.records import Forecast, TimeForecast
from journeyman.train.prefixes import division
from journeyman.train.processes import ProcessGroup, joined, require_one
from journeyman.train.read_splits import TrainingSplits, read_splits
from journeyman.train.resolved import require_usable, resolved
from journeyman.train.schedule import warmup_steps

if TYPE_CHECKING:
    from journeyman.train.fast.narrowing import Int8Plan
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
        with owned(settings.output_dir):
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
    narrowing = narrowing_of(settings, base, data.train.used, ignore)
    # Another machine may hold another file under the same name, or lack an instruction.
    identity = _identity(settings, base, narrowing)
    require_same(start.identity, identity, where="process 0")
    if not start.is_finished:
        from journeyman.train.following import follow_job

        job = _job(settings, data, _planned(settings, data, ignore), narrowing=narrowing)
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
    narrowing = narrowing_of(settings, base, data.train.used, report)
    identity = _identity(settings, base, narrowing)
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
        narrowing=narrowing,
        identity=identity,
        found=found,
        group=group,
        report=report,
    )


def _identity(settings: TrainSettings, base: BaseModel, narrowing: "Int8Plan") -> Identity:
    return identity_of(settings, base, engine=settings.engine, narrowing_id=narrowing.id)


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
    narrowing: "Int8Plan",
    report: Reporter,
) -> tuple[Forecast | None, float | None]:
    """What the steps that are left will take, told, and the most tokens a second; None: unknown.

    A short run is not probed: it shows its own pace before a probe would have told it.
    """
    if not steps:
        return None, None
    from journeyman.train.plan.described import of_folder
    from journeyman.train.plan.limit import limit_tokens_per_s
    from journeyman.train.plan.run import IntendedRun
    from journeyman.train.plan.shape import shape_of
    from journeyman.train.plan.stage import forecast
    from journeyman.train.threads import using_threads

    run = IntendedRun(
        settings=settings,
        train=data.train,
        val=data.val,
        steps=steps,
        narrowing=narrowing,
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
    narrowing: "Int8Plan",
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
        plan, limit = _forecast(settings, base, data, left, narrowing=narrowing, report=report)
    write_config(
        settings,
        identity,
        facts={
            "steps": len(steps),
            "train_rows": len(data.train.used),
            "val_rows": len(data.val.used),
            "plan": plan,
            "calibrated_wide": sorted(narrowing.wide),
            "left_out": {"train": data.train.left_out, "val": data.val.left_out},
        },
    )
    # Here and not above: a run that is refused or finished needs no torch.
    from journeyman.train.session import run_job

    job = _job(
        settings,
        data,
        steps,
        narrowing=narrowing,
        hours=plan.hours if plan else None,
        limit=limit,
    )
    return run_job(job, base, identity, found, group=group, report=report)


def _job(
    settings: TrainSettings,
    data: TrainingSplits,
    steps: tuple[OptimiserStep, ...],
    *,
    narrowing: "Int8Plan",
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
        narrowing=narrowing,
        hours=hours,
        limit_tokens_per_s=limit,
    )


def _report_shares(
    steps: tuple[OptimiserStep, ...], data: TrainingSplits, group: ProcessGroup, report: Reporter
) -> None:
    from journeyman.train.sharing import busy_share

    lengths = [len(row.ids) for row in data.train.used]
    busy = busy_share([step.micro_batches for step in steps], lengths, group.size)
    report(
        Note(
            f"{group.size} processes share the micro-batches of each step; by tokens each works "
            f"{busy:.0%} of the time"
        )
    )
