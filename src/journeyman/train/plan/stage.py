"""`plan`: what `train` would take with the same settings, and what is wrong with them.

Reads the dataset and the base's config, tries a few seconds of the run, and writes nothing but a
file of some MiB that it removes. `forecast` is the part that `train` shares.
"""

import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import msgspec

from journeyman.events import Reporter, StageStarted, ignore
from journeyman.settings import TrainSettings
from journeyman.train.arithmetic import compiles
from journeyman.train.batches import tokens_of_run
from journeyman.train.plan.described import BaseDescription, described
from journeyman.train.plan.findings import findings_of
from journeyman.train.plan.probed import SHORT_RUN_S, probe
from journeyman.train.plan.rates import Clock
from journeyman.train.plan.records import Forecast
from journeyman.train.plan.room import (
    ELEMENT_BYTES,
    disk_of,
    footprint_of,
    memory_of,
    saved_bytes_guess,
)
from journeyman.train.plan.run import IntendedRun, estimated_rows, run_of
from journeyman.train.plan.same_base import of_dataset, of_served
from journeyman.train.plan.serving import GOAL_S
from journeyman.train.plan.shape import shape_of
from journeyman.train.plan.totals import adapter_parameters, steps_of, tokens_of
from journeyman.train.plan.work import is_padded
from journeyman.train.resolved import require_usable, resolved
from journeyman.train.rows import Rows, read_rows, require_rows
from journeyman.train.threads import using_threads


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
        settings = resolved(settings, base.config, report)
        train = _rows(settings.data_dir / "train.jsonl", base, settings)
        require_rows(train, settings.data_dir / "train.jsonl")
        val = _rows(settings.data_dir / "val.jsonl", base, settings)
        tokens = tokens_of_run([len(row.ids) for row in train.used], settings)
        compiled = compiles(settings, base.config, tokens=tokens, report=report)
        settings = replace(settings, compiled=compiled)
        run = run_of(settings, train, val, exact=base.chat is not None)
        return forecast(run, base, report, serve_base=serve_base, goal_s=goal_s, clock=clock)


def _rows(path: Path, base: BaseDescription, settings: TrainSettings) -> Rows:
    if base.chat is None:
        return estimated_rows(path, max_tokens=settings.max_tokens)
    return read_rows(path, base.chat, max_tokens=settings.max_tokens)


def forecast(
    run: IntendedRun,
    base: BaseDescription,
    report: Reporter = ignore,
    *,
    serve_base: str | None = None,
    goal_s: float = GOAL_S,
    clock: Clock = time.perf_counter,
    probe_short: bool = True,
) -> Forecast:
    """Everything that is known of a run before it starts.

    probe_short: False leaves the probe out where the run is over before it would pay.
    """
    settings = run.settings
    shape = shape_of(base.config, settings.lora_targets)
    # Before the probe, whose own memory must not count.
    footprint = footprint_of(base.config, settings, wide_bytes=run.narrowing.wide_bytes)
    probed = probe(
        run,
        base,
        shape,
        report,
        least_s=0.0 if probe_short else SHORT_RUN_S,
        footprint=footprint,
        clock=clock,
    )
    guess = saved_bytes_guess(shape, ELEMENT_BYTES[settings.precision])
    if footprint is not None:
        guess = footprint.keeping.kept_bytes
    # At one depth a layer's own buffers cannot be told from what it keeps.
    is_measured = probed is not None and probed.measured.shallow < probed.measured.deep
    saved_bytes = probed.measured.saved_bytes if probed and is_measured else guess
    outline = Forecast(
        base=base.name,
        parameters=shape.parameters,
        adapter_parameters=adapter_parameters(run, shape),
        engine=settings.engine,
        precision=settings.precision,
        tokens=tokens_of(run, shape),
        steps=steps_of(run),
        memory=memory_of(
            run,
            shape,
            saved_bytes=saved_bytes,
            padded=is_padded(settings),
            footprint=footprint,
        ),
        disk=disk_of(run, shape, base),
        findings=(),
        machine=probed.machine if probed else None,
        hours=probed.hours(run) if probed else None,
        serving=probed.serving(run, goal_s) if probed else None,
        alternatives=probed.alternatives(run) if probed else (),
    )
    found = chain(
        of_served(base.name, shape, serve_base),
        of_dataset(base.name, settings.data_dir),
        findings_of(outline, settings),
    )
    return msgspec.structs.replace(outline, findings=tuple(found))
