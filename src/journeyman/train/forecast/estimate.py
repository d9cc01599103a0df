"""The probe of one run, and what can be said with it: hours, serving, cheaper runs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from journeyman.events import Note, Progress, ProgressEnded, Reporter
from journeyman.machine.speed import Clock, disk_rate, memory_rate, product_rate
from journeyman.machine.torch_runtime import freed_memory_kept
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.devices import CUDA
from journeyman.train.forecast.alternatives import cheaper
from journeyman.train.forecast.answer_time import serving_of
from journeyman.train.forecast.memory_and_disk import ELEMENT_BYTES
from journeyman.train.forecast.probe import ProbeResult, depths_for, measure
from journeyman.train.forecast.probe_parts import product_dtype
from journeyman.train.forecast.records import Alternative, AnswerTimeForecast, Machine, TimeForecast
from journeyman.train.forecast.run import IntendedRun, operations, total_work
from journeyman.train.forecast.shape import ModelShape
from journeyman.train.forecast.time import DiskTraffic, MicroBatchCosts, costs_of, hours_of

SHORT_RUN_S = 300.0
"""`train` probes longer runs only: a shorter one soon shows its own pace. At the full rate of
products, so that the probe takes a few hundredths of the run."""

_PLACES = (1 / 4, 3 / 4)
"""Where in the order by size the probed micro-batches stand: half of the run for each."""

_CHECKPOINT_COPIES = 3
TASK = "probe"
"""Under this name the probe reports its progress."""


@dataclass(frozen=True, kw_only=True)
class ProbeEstimate:
    """What a few seconds of a run told."""

    shape: ModelShape
    measured: ProbeResult
    costs: MicroBatchCosts
    writing: DiskTraffic
    machine: Machine

    def hours(self, run: IntendedRun) -> TimeForecast:
        """The time of a run of the same shape, precision and adapter."""
        return hours_of(
            run,
            self.shape,
            self.costs,
            writing=self.writing,
            slowdown=self.machine.slowdown,
        )

    def serving(self, run: IntendedRun, goal_s: float) -> AnswerTimeForecast:
        """The bound for one answer."""
        return serving_of(
            run.train.used,
            self.shape,
            memory_rate=self.machine.memory_rate,
            product_rate=self.machine.product_rate,
            goal_s=goal_s,
        )

    def alternatives(self, run: IntendedRun) -> tuple[Alternative, ...]:
        """Cheaper runs."""
        total_s = self.hours(run).total_s
        found = cheaper(
            run,
            self.shape,
            total_s,
            total_of=lambda other: self.hours(other).total_s,
        )
        return tuple(found)


def probe(
    run: IntendedRun,
    shape: ModelShape,
    report: Reporter,
    *,
    least_s: float,
    clock: Clock = time.perf_counter,
) -> ProbeEstimate | None:
    """Try the machine and the engine; None if the run takes less than `least_s` seconds."""
    import torch

    settings = run.settings
    if settings.device == CUDA:
        report(Note("the time is not forecast on a GPU: it was never measured on one"))
        return None
    report(Progress(TASK, 0, 3, detail="products and memory"))
    rate = product_rate(shape.hidden, shape.widest, product_dtype(run.recipe), clock=clock)
    work = total_work(one for step in run.work() for one in step)
    if operations(shape, work) / rate < least_s:
        report(ProgressEnded(TASK))
        return None
    reading = memory_rate(clock=clock)
    report(Progress(TASK, 1, 3, detail="micro-batches of the run on fewer layers"))
    batches = typical_batches(run)
    longest = max(sum(len(row.ids) for row in batch) for batch in batches)
    depths = depths_for(
        shape, element_bytes=ELEMENT_BYTES[settings.precision], rate=rate, tokens=longest
    )
    with freed_memory_kept(run.recipe.spares_memory):
        measured = measure(
            run.recipe,
            shape,
            batches,
            depths=depths,
            clock=clock,
        )
    report(Progress(TASK, 2, 3, detail="disk"))
    adapter = shape.adapter_parameters(rank=settings.lora_r, targets=settings.lora_targets)
    writing = DiskTraffic(
        checkpoint_bytes=4 * _CHECKPOINT_COPIES * adapter,
        weight_bytes=ELEMENT_BYTES[settings.precision] * shape.parameters,
        disk_rate=disk_rate(settings.output_dir),
        memory_rate=reading,
    )
    report(ProgressEnded(TASK))
    machine = Machine(
        threads=torch.get_num_threads(),
        product_rate=rate,
        memory_rate=reading,
        disk_rate=writing.disk_rate,
        probe_s=measured.seconds,
        slowdown=measured.slowdown,
    )
    return ProbeEstimate(
        shape=shape,
        measured=measured,
        costs=costs_of(measured, shape),
        writing=writing,
        machine=machine,
    )


def typical_batches(run: IntendedRun) -> list[Sequence[TokenRow]]:
    """Two micro-batches of the run, each in the middle of a half of them by tokens."""
    rows = run.train.used
    batches = [
        [rows[index] for index in batch] for step in run.steps for batch in step.micro_batches
    ]
    batches.sort(key=lambda batch: sum(len(row.ids) for row in batch))
    return [batches[int(place * len(batches))] for place in _PLACES]
