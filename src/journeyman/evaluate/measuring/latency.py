"""Latency: how long answers take, how sure that is, and what disturbed the measurement."""

from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean, median

from journeyman.evaluate.records.measurements import Latency, Timing
from journeyman.evaluate.records.scores import ArmId, EvaluationTask, Item, decode_rate
from journeyman.machine.load import mean_load
from journeyman.records import Answer
from journeyman.stats import ALPHA, Mean, bootstrap_mean, quantile


def latency(
    tasks: Sequence[EvaluationTask],
    items: Sequence[Item],
    seed: int,
    *,
    alpha: float = ALPHA,
    cores: int | None = None,
) -> Latency:
    """The latency of the answers that came; bounds over clusters of equal prompts.

    alpha: error of the one-sided bounds. An answer without a time (an error) does not count.
    """
    cluster = {task.id: task.cluster for task in tasks}
    timed = [(one, one.answer.latency_s) for one in items if one.answer.latency_s is not None]
    if not timed:
        return Latency(planned=len(tasks), answered=0, cores=cores)
    seconds = [value for _, value in timed]
    answers = [item.answer for item, _ in timed]
    labels = [cluster[item.task] for item, _ in timed]
    return Latency(
        planned=len(tasks),
        answered=len(timed),
        mean=bootstrap_mean(seconds, seed=seed, clusters=labels, confidence=1 - alpha),
        p50_s=quantile(seconds, 0.5),
        p95_s=quantile(seconds, 0.95),
        max_s=max(seconds),
        first_token_s=_mean([a.first_token_s for a in answers]),
        tokens_per_s=_mean([decode_rate(a) for a in answers]),
        answer_tokens=_mean([a.answer_tokens for a in answers]),
        prompt_tokens=_mean([a.prompt_tokens for a in answers]),
        other_load=mean_load((item.other_load, s) for item, s in timed),
        cores=cores,
        overhead_share=_mean([overhead_share(a) for a in answers]),
        repeat_spread=_repeat_spread(timed),
    )


def overhead_share(answer: Answer) -> float | None:
    """The share of the latency that the server's own clock leaves out; None if it has none."""
    if answer.server_s is None or not answer.latency_s:
        return None
    return (answer.latency_s - answer.server_s) / answer.latency_s


def latency_difference(
    tasks: Sequence[EvaluationTask], items: Sequence[Item], seed: int, *, alpha: float = ALPHA
) -> Mean | None:
    """Seconds of tuned minus base, paired by task; None if both answered no task in common."""
    seconds: dict[ArmId, Mapping[str, float]] = {
        arm: {
            item.task: item.answer.latency_s
            for item in items
            if item.arm == arm and item.answer.latency_s is not None
        }
        for arm in ("base", "tuned")
    }
    both = [task for task in tasks if all(task.id in by_task for by_task in seconds.values())]
    if not both:
        return None
    differences = [seconds["tuned"][task.id] - seconds["base"][task.id] for task in both]
    clusters: list[Hashable] = [task.cluster for task in both]
    return bootstrap_mean(differences, seed=seed, clusters=clusters, confidence=1 - alpha)


def warm_latency(
    arm: str,
    tasks: Sequence[EvaluationTask],
    timings: Sequence[Timing],
    seed: int,
    *,
    cores: int | None,
) -> Latency | None:
    """The latency of one model's warm workload; None if it has none."""
    mine = [timing.item for timing in timings if timing.item.arm == arm]
    asked = {item.task for item in mine}
    planned = [task for task in tasks if task.id in asked]
    return latency(planned, mine, seed, cores=cores) if mine else None


def _repeat_spread(timed: Sequence[tuple[Item, float]]) -> float | None:
    """Median of (longest - shortest) / mean over the repeats of one task; None without repeats."""
    repeats: dict[str, list[float]] = {}
    for item, seconds in timed:
        repeats.setdefault(item.task, []).append(seconds)
    spreads = [(max(s) - min(s)) / fmean(s) for s in repeats.values() if len(s) > 1]
    return median(spreads) if spreads else None


def _mean(values: Sequence[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
