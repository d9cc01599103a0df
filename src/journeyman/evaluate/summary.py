"""An evaluation as tables and lines for a terminal."""

from journeyman.evaluate.costs import Latency
from journeyman.evaluate.records import ArmResult, Evaluation, Rung
from journeyman.evaluate.words import mebibytes, percent, points, rate, seconds
from journeyman.events import Table

SHOWN_BY_AGENT = ("S2", "S3", "S4")
"""Rungs that mean another thing for another agent; of the others the page shows the parts."""


def tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """Rungs by arm, pairs, and times; those that have rows."""
    found = (
        rung_table(evaluation),
        paired_table(evaluation),
        cost_table(evaluation),
        warm_table(evaluation),
    )
    return tuple(table for table in found if table.rows)


def rung_table(evaluation: Evaluation) -> Table:
    """A row a rung, a column an arm: `k/n  share (95 % interval)`."""
    rows: list[tuple[str, ...]] = []
    for place, rung in enumerate(evaluation.arms[0].rungs if evaluation.arms else ()):
        if rung.agent and rung.id not in SHOWN_BY_AGENT:
            continue
        cells = (rate(result.rungs[place].rate) for result in evaluation.arms)
        rows.append((rung_name(rung), *cells, rung.note))
    if evaluation.reference is not None:
        text = rate(evaluation.reference.rate)
        rows.append(("S4 of the rows' own answers", *(text for _ in evaluation.arms), "reference"))
    names = (result.arm.id for result in evaluation.arms)
    return Table("", ("rung", *names, "note"), tuple(rows))


def rung_name(rung: Rung) -> str:
    """`S2 well-formed (coder)`."""
    return f"{rung.id} {rung.name}" + (f" ({rung.agent})" if rung.agent else "")


def paired_table(evaluation: Evaluation) -> Table:
    """Tuned minus base on the same tasks."""
    rows = tuple(
        (
            pair.rung,
            str(pair.n),
            str(pair.fixed),
            str(pair.broken),
            f"{points(pair.difference.difference)} "
            f"({100 * pair.difference.low:+.1f} to {100 * pair.difference.high:+.1f})",
            f"{pair.p:.3g}",
        )
        for pair in evaluation.paired
    )
    columns = ("tuned - base", "pairs", "fixed", "broken", "difference (95%)", "McNemar p")
    return Table("", columns, rows)


def warm_table(evaluation: Evaluation) -> Table:
    """Cold beside warm, by arm; no rows where nothing was asked warm."""
    rows = tuple(
        (result.arm.id, name, *_times(found))
        for result in evaluation.arms
        if result.warm is not None
        for name, found in (("cold", result.latency), ("warm", result.warm))
    )
    columns = ("arm", "", "answers", "mean (95%)", "p95", "first token", "decode", "repeats differ")
    return Table("", columns, rows)


def _times(found: Latency) -> tuple[str, ...]:
    return (
        str(found.answered),
        mean_seconds(found),
        seconds(found.p95_s),
        seconds(found.first_token_s),
        "not measured" if found.tokens_per_s is None else f"{found.tokens_per_s:.1f} tok/s",
        "" if found.repeat_spread is None else f"by {percent(found.repeat_spread)}",
    )


def cost_table(evaluation: Evaluation) -> Table:
    """Seconds, tokens and memory by arm."""
    rows = tuple(_cost(result) for result in evaluation.arms)
    columns = (
        "arm", "answers", "mean (95%)", "p50", "p95", "max", "first token", "decode", "peak memory",
        "load",
    )  # fmt: skip
    return Table("", columns, rows)


def _cost(result: ArmResult) -> tuple[str, ...]:
    times = result.latency
    return (
        result.arm.id,
        f"{times.answered}/{times.planned}",
        mean_seconds(times),
        seconds(times.p50_s),
        seconds(times.p95_s),
        seconds(times.max_s),
        seconds(times.first_token_s),
        "not measured" if times.tokens_per_s is None else f"{times.tokens_per_s:.1f} tok/s",
        mebibytes(result.peak_memory_bytes),
        seconds(result.load_s),
    )


def mean_seconds(times: Latency) -> str:
    """`1.23 s (1.01 to 1.50)`."""
    mean = times.mean
    if mean is None:
        return seconds(None)
    if mean.low is None or mean.high is None:
        return seconds(mean.mean)
    return f"{seconds(mean.mean)} ({mean.low:.2f} to {mean.high:.2f})"


def verdict_lines(evaluation: Evaluation) -> tuple[str, ...]:
    """The verdict for a terminal: the headline, each criterion, what is not claimed, what to do."""
    verdict = evaluation.verdict
    criteria = [
        f"{one.state:<13} {one.name} {one.target}: {one.found}"
        + (f"; needs {one.need}" if one.need else "")
        for one in verdict.criteria
    ]
    lines = [verdict.headline, *criteria]
    lines += [f"because: {reason}" for reason in verdict.reasons]
    lines += [f"note: {claim}" for claim in verdict.claims]
    if evaluation.baseline is not None:
        lines.append(f"baseline: {evaluation.baseline.text}")
    lines += [f"next: {step}" for step in verdict.next_steps]
    return tuple(lines)
