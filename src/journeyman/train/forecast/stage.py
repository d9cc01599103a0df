"""`plan`: what `train` would take with the same settings, and what is wrong with them.

Reads the dataset and the base model's config and tries a few seconds of the run. It writes nothing
but a file of some MiB to time the disk, which it removes. `train` calls `forecast` as well.
"""

import time
from itertools import chain
from pathlib import Path

import msgspec

from journeyman.events import Reporter, StageStarted, ignore
from journeyman.machine.speed import Clock
from journeyman.machine.torch_runtime import using_threads
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import Rows, read_rows, require_rows
from journeyman.train.check_settings import require_usable
from journeyman.train.engine.learning_rate import warmup_steps
from journeyman.train.engine.recipe import decide, for_rows
from journeyman.train.forecast.answer_time import GOAL_S
from journeyman.train.forecast.base_mismatch import dataset_findings, served_model_findings
from journeyman.train.forecast.base_model import BaseDescription, describe_base
from journeyman.train.forecast.estimate import SHORT_RUN_S, ProbeEstimate, probe
from journeyman.train.forecast.findings import findings_of
from journeyman.train.forecast.memory_and_disk import (
    ELEMENT_BYTES,
    disk_of,
    guess_saved_bytes,
    memory_of,
)
from journeyman.train.forecast.records import Forecast, Machine, Steps, Tokens
from journeyman.train.forecast.run import (
    IntendedRun,
    estimate_rows,
    operations,
    run_of,
    seed_work,
)
from journeyman.train.forecast.shape import ModelShape, shape_of


def plan(
    settings: TrainSettings,
    report: Reporter = ignore,
    *,
    serve_base: str | None = None,
    goal_s: float = GOAL_S,
    clock: Clock = time.perf_counter,
) -> Forecast:
    """The forecast of `train` with these settings. Raises UsageError, DataRefused, UpstreamError.

    serve_base: the model that the user serves, to compare with the base model.
    """
    require_usable(settings)
    report(StageStarted("plan", f"`{settings.data_dir}` on `{settings.base}`"))
    with describe_base(settings.base, report) as base, using_threads(settings.threads):
        recipe = decide(settings, base.config, report)
        train = _rows(settings.data_dir / "train.jsonl", base, settings)
        require_rows(train, settings.data_dir / "train.jsonl")
        val = _rows(settings.data_dir / "val.jsonl", base, settings)
        recipe = for_rows(recipe, [len(row.ids) for row in train.used], report)
        run = run_of(recipe, train, val, exact=base.chat is not None)
        return forecast(
            run,
            base.name,
            report,
            has_weights=base.weight_bytes is not None,
            serve_base=serve_base,
            goal_s=goal_s,
            clock=clock,
        )


def _rows(path: Path, base: BaseDescription, settings: TrainSettings) -> Rows:
    if base.chat is None:
        return estimate_rows(path, max_tokens=settings.max_tokens)
    return read_rows(path, base.chat, max_tokens=settings.max_tokens)


def forecast(
    run: IntendedRun,
    base_name: str,
    report: Reporter = ignore,
    *,
    has_weights: bool = True,
    serve_base: str | None = None,
    goal_s: float = GOAL_S,
    clock: Clock = time.perf_counter,
    probe_short: bool = True,
) -> Forecast:
    """Everything that can be known of a run before it starts.

    has_weights: whether the base model's weights are on this disk. probe_short: False for no probe
    of a run that would be over before the probe pays.
    """
    settings = run.settings
    shape = shape_of(run.recipe.config, settings.lora_targets)
    estimate = probe(run, shape, report, least_s=0.0 if probe_short else SHORT_RUN_S, clock=clock)
    result = Forecast(
        base=base_name,
        parameters=shape.parameters,
        adapter_parameters=shape.adapter_parameters(settings),
        engine=settings.engine,
        precision=settings.precision,
        tokens=_tokens_of(run, shape),
        steps=_steps_of(run),
        memory=memory_of(run, shape, saved_bytes=_saved_bytes(run, shape, estimate)),
        disk=disk_of(run, shape, has_weights=has_weights),
        findings=(),
        machine=with_throughput_limit(estimate.machine, run, shape) if estimate else None,
        hours=estimate.hours(run) if estimate else None,
        serving=estimate.answer_time(run, goal_s) if estimate else None,
        alternatives=estimate.alternatives(run) if estimate else (),
    )
    findings = chain(
        served_model_findings(base_name, shape, serve_base),
        dataset_findings(base_name, settings.data_dir),
        findings_of(result, settings),
    )
    return msgspec.structs.replace(result, findings=tuple(findings))


def _saved_bytes(run: IntendedRun, shape: ModelShape, estimate: ProbeEstimate | None) -> float:
    """What one layer keeps of one token for its backward pass: measured, else estimated."""
    # With one depth, a layer's buffers cannot be told apart from what it keeps.
    if estimate is not None and estimate.measured.shallow < estimate.measured.deep:
        return estimate.measured.saved_bytes
    if run.recipe.fast is not None:
        return run.recipe.fast.memory.activation_budget.kept_bytes
    return guess_saved_bytes(shape, ELEMENT_BYTES[run.settings.precision])


def with_throughput_limit(machine: Machine, run: IntendedRun, shape: ModelShape) -> Machine:
    """The machine with the throughput it would have if it computed only the matrix products.

    A program that does not compute every token (of prefixes that rows share) may be faster.
    """
    # The measured rate is that of FP32 or BF16 products, which does not limit INT8.
    if run.settings.precision in ("int8", "mixed"):
        return machine
    work = run.total_work(padded=False)
    limit = machine.product_rate * work.real / operations(shape, work)
    return msgspec.structs.replace(machine, limit_tokens_per_s=limit)


def _tokens_of(run: IntendedRun, shape: ModelShape) -> Tokens:
    """What the run computes, compared with the seed recipe for the same rows and epochs."""
    rows = run.rows
    work = run.total_work()
    seed = seed_work(rows[index] for step in run.steps for index in step.rows)
    return Tokens(
        rows=len(rows),
        val_rows=len(run.val_rows),
        left_out=len(run.train.left_out),
        exact=run.exact,
        longest=max(len(row.ids) for row in rows),
        real=work.real,
        computed=work.computed,
        trained=work.trained,
        trained_an_epoch=sum(row.trained_tokens for row in rows),
        real_share=work.real / work.computed,
        seed_computed=seed.computed,
        seed_real_share=seed.real / seed.computed,
        operation_share=operations(shape, work) / operations(shape, seed),
    )


def _steps_of(run: IntendedRun) -> Steps:
    return Steps(
        steps=len(run.steps),
        rows_a_step=run.rows_a_step,
        warmup=warmup_steps(len(run.steps), run.settings.warmup_share),
        checkpoints=run.checkpoints,
        validations=run.validation_count,
    )
