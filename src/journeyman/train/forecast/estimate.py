"""What the probe of a run gives: the time of the run, of one answer, and of cheaper runs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from journeyman.events import Note, Progress, ProgressEnded, Reporter
from journeyman.machine.speed import Clock, disk_rate, memory_rate, product_rate
from journeyman.machine.torch_runtime import freed_memory_kept
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.devices import CUDA
from journeyman.train.forecast.alternatives import cheaper_runs
from journeyman.train.forecast.answer_time import answer_time_of
from journeyman.train.forecast.memory_and_disk import ELEMENT_BYTES
from journeyman.train.forecast.probe import ProbeResult, depths_for, measure
from journeyman.train.forecast.probe_parts import product_dtype
from journeyman.train.forecast.records import Alternative, AnswerTimeForecast, Machine, TimeForecast
from journeyman.train.forecast.run import IntendedRun, operations
from journeyman.train.forecast.shape import ModelShape
from journeyman.train.forecast.time import MicroBatchCosts, costs_of, time_of

TASK = "probe"
"""The task under which the probe reports its progress."""
SHORT_RUN_S = 300.0
"""`train` probes only runs that take longer at the full rate of the machine's products, so that the
probe takes a few hundredths of the run. A shorter run soon shows its own throughput."""
# Of all micro-batches by size, those in the middle of either half are probed.
_PROBED_QUANTILES = (1 / 4, 3 / 4)


@dataclass(frozen=True, kw_only=True)
class ProbeEstimate:
    """What is known of a run, and of similar ones, after the probe."""

    shape: ModelShape
    measured: ProbeResult
    costs: MicroBatchCosts
    machine: Machine

    def hours(self, run: IntendedRun) -> TimeForecast:
        """The time of a run of the same shape, precision and adapter."""
        return time_of(run, self.shape, self.costs, self.machine)

    def answer_time(self, run: IntendedRun, goal_s: float) -> AnswerTimeForecast:
        """The least time of one answer."""
        return answer_time_of(
            run.rows,
            self.shape,
            memory_rate=self.machine.memory_rate,
            product_rate=self.machine.product_rate,
            goal_s=goal_s,
        )

    def alternatives(self, run: IntendedRun) -> tuple[Alternative, ...]:
        """Cheaper runs over the same data."""
        total_s = self.hours(run).total_s
        cheaper = cheaper_runs(
            run, self.shape, total_s, total_of=lambda other: self.hours(other).total_s
        )
        return tuple(cheaper)


def probe(
    run: IntendedRun,
    shape: ModelShape,
    report: Reporter,
    *,
    least_s: float,
    clock: Clock = time.perf_counter,
) -> ProbeEstimate | None:
    """Try the machine and the engine; None for a run of less than `least_s` seconds."""
    import torch

    settings = run.settings
    if settings.device == CUDA:
        report(Note("no time forecast on a GPU: it was never measured on one"))
        return None
    report(Progress(TASK, 0, 3, detail="matrix products and memory"))
    rate = product_rate(shape.hidden, shape.widest, product_dtype(run.recipe), clock=clock)
    if operations(shape, run.total_work()) / rate < least_s:
        report(ProgressEnded(TASK))
        return None
    reading = memory_rate(clock=clock)
    report(Progress(TASK, 1, 3, detail="micro-batches of the run on fewer layers"))
    measured = _probe_engine(run, shape, rate, clock)
    report(Progress(TASK, 2, 3, detail="disk"))
    writing = disk_rate(settings.output_dir)
    report(ProgressEnded(TASK))
    return ProbeEstimate(
        shape=shape,
        measured=measured,
        costs=costs_of(measured, shape),
        machine=Machine(
            threads=torch.get_num_threads(),
            product_rate=rate,
            memory_rate=reading,
            disk_rate=writing,
            probe_s=measured.seconds,
            slowdown=measured.slowdown,
        ),
    )


def _probe_engine(run: IntendedRun, shape: ModelShape, rate: float, clock: Clock) -> ProbeResult:
    """Times of typical micro-batches. rate: operations a second of the machine's products."""
    batches = typical_batches(run)
    longest = max(sum(len(row.ids) for row in batch) for batch in batches)
    element_bytes = ELEMENT_BYTES[run.settings.precision]
    depths = depths_for(shape, element_bytes=element_bytes, rate=rate, tokens=longest)
    with freed_memory_kept(run.recipe.spares_memory):
        return measure(run.recipe, shape, batches, depths=depths, clock=clock)


def typical_batches(run: IntendedRun) -> list[Sequence[TokenRow]]:
    """Two micro-batches of the run, from the middle of the smaller and of the larger half."""
    rows = run.rows
    batches = [
        [rows[index] for index in batch] for step in run.steps for batch in step.micro_batches
    ]
    batches.sort(key=lambda batch: sum(len(row.ids) for row in batch))
    return [batches[int(quantile * len(batches))] for quantile in _PROBED_QUANTILES]
