"""`plan`: what `train` would take with the same settings, and what is wrong with them.

Reads the dataset and the base's config, tries a few seconds of the run, and writes nothing but a
file of some MiB that it removes. `forecast` is the part that `train` shares.

How fast this machine could train at most, were it to do nothing but products.

The sums of a run that need no machine: tokens, the seed recipe's tokens, steps.
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
from journeyman.train.forecast.base_mismatch import of_dataset, of_served
from journeyman.train.forecast.base_model import BaseDescription, described
from journeyman.train.forecast.estimate import SHORT_RUN_S, probe
from journeyman.train.forecast.findings import findings_of
from journeyman.train.forecast.memory_and_disk import (
    ELEMENT_BYTES,
    disk_of,
    memory_of,
    saved_bytes_guess,
)
from journeyman.train.forecast.records import Forecast, Machine, Steps, Tokens
from journeyman.train.forecast.run import (
    IntendedRun,
    estimated_rows,
    operations,
    run_of,
    seed_work,
    total_work,
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
    """The plan of `train` with these settings. Raises UsageError, DataRefused, UpstreamError."""
    require_usable(settings)
    report(StageStarted("plan", f"`{settings.data_dir}` on `{settings.base}`"))
    with described(settings.base, report) as base, using_threads(settings.threads):
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
            is_here=base.weight_bytes is not None,
            serve_base=serve_base,
            goal_s=goal_s,
            clock=clock,
        )


def _rows(path: Path, base: BaseDescription, settings: TrainSettings) -> Rows:
    if base.chat is None:
        return estimated_rows(path, max_tokens=settings.max_tokens)
    return read_rows(path, base.chat, max_tokens=settings.max_tokens)


def forecast(
    run: IntendedRun,
    base_name: str,
    report: Reporter = ignore,
    *,
    is_here: bool = True,
    serve_base: str | None = None,
    goal_s: float = GOAL_S,
    clock: Clock = time.perf_counter,
    probe_short: bool = True,
) -> Forecast:
    """Everything that is known of a run before it starts.

    is_here: whether the base's weights are on this disk. probe_short: False skips the probe of a
    run that is over before the probe would pay.
    """
    settings, fast = run.settings, run.recipe.fast
    shape = shape_of(run.recipe.config, settings.lora_targets)
    probed = probe(run, shape, report, least_s=0.0 if probe_short else SHORT_RUN_S, clock=clock)
    guess = saved_bytes_guess(shape, ELEMENT_BYTES[settings.precision])
    if fast is not None:
        guess = fast.memory.activation_budget.kept_bytes
    # At one depth a layer's own buffers cannot be told from what it keeps.
    is_measured = probed is not None and probed.measured.shallow < probed.measured.deep
    saved_bytes = probed.measured.saved_bytes if probed and is_measured else guess
    outline = Forecast(
        base=base_name,
        parameters=shape.parameters,
        adapter_parameters=adapter_parameters(run, shape),
        engine=settings.engine,
        precision=settings.precision,
        tokens=tokens_of(run, shape),
        steps=steps_of(run),
        memory=memory_of(run, shape, saved_bytes=saved_bytes),
        disk=disk_of(run, shape, is_here=is_here),
        findings=(),
        machine=with_limit(probed.machine, run, shape) if probed else None,
        hours=probed.hours(run) if probed else None,
        serving=probed.serving(run, goal_s) if probed else None,
        alternatives=probed.alternatives(run) if probed else (),
    )
    found = chain(
        of_served(base_name, shape, serve_base),
        of_dataset(base_name, settings.data_dir),
        findings_of(outline, settings),
    )
    return msgspec.structs.replace(outline, findings=tuple(found))


def with_limit(machine: Machine, run: IntendedRun, shape: ModelShape) -> Machine:
    """The machine with the throughput it would have if it did nothing but products.

    A program that computes less than every layer of every token (prefixes shared by rows) may be
    faster.
    """
    # The rate is that of FP32 or BF16 products; INT8 ones have no such limit.
    if run.settings.precision in ("int8", "mixed"):
        return machine
    work = total_work(one for step in run.work(padded=False) for one in step)
    limit = machine.product_rate * work.real / operations(shape, work)
    return msgspec.structs.replace(machine, limit_tokens_per_s=limit)


def tokens_of(run: IntendedRun, shape: ModelShape) -> Tokens:
    """What the run computes, beside what the seed recipe would for the same rows and epochs."""
    rows = run.train.used
    ours = total_work(work for step in run.work() for work in step)
    seed = seed_work(rows[index] for step in run.steps for index in step.rows)
    return Tokens(
        rows=len(rows),
        val_rows=len(run.val.used),
        left_out=len(run.train.left_out),
        exact=run.exact,
        longest=max(len(row.ids) for row in rows),
        real=ours.real,
        computed=ours.computed,
        trained=ours.trained,
        trained_an_epoch=sum(row.trained_tokens for row in rows),
        real_share=ours.real / ours.computed,
        seed_computed=seed.computed,
        seed_real_share=seed.real / seed.computed,
        operation_share=operations(shape, ours) / operations(shape, seed),
    )


def steps_of(run: IntendedRun) -> Steps:
    """Steps, and what is due among them."""
    settings = run.settings
    assert settings.accumulation is not None  # resolved
    return Steps(
        steps=len(run.steps),
        rows_a_step=settings.batch_size * settings.accumulation,
        warmup=warmup_steps(len(run.steps), settings.warmup_share),
        checkpoints=run.checkpoints,
        validations=run.validations,
    )


def adapter_parameters(run: IntendedRun, shape: ModelShape) -> int:
    """Of the run's adapter."""
    settings = run.settings
    return shape.adapter_parameters(rank=settings.lora_r, targets=settings.lora_targets)
