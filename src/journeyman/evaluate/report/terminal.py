"""An evaluation as tables and lines for a terminal."""

from journeyman.evaluate.measuring.baseline import STATED_LATENCY_S, STATED_SUCCESS
from journeyman.evaluate.measuring.rates import strictly_less
from journeyman.evaluate.records.evaluation import ArmResult, Evaluation
from journeyman.evaluate.records.measurements import Latency
from journeyman.evaluate.records.scores import PairedOutcomes, Rung
from journeyman.evaluate.records.suites import Suite
from journeyman.events import Table
from journeyman.formatting import NOT_MEASURED, byte_size, percent, points, rate, seconds
from journeyman.stats import Mean

SHOWN_BY_AGENT = ("S2", "S3", "S4")
"""Rungs that mean another thing for another agent; of the others the page shows the parts."""


def tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """Rungs by arm, pairs, and times; those that have rows."""
    found = (
        rung_table(evaluation),
        paired_table(evaluation),
        cost_table(evaluation),
        warm_table(evaluation),
        suite_table(evaluation),
        baseline_table(evaluation),
    )
    return tuple(table for table in found if table.rows)


def rung_table(evaluation: Evaluation) -> Table:
    """A row a rung, a column an arm: `k/n  share (95 % interval)`."""
    rows: list[tuple[str, ...]] = []
    for place, rung in enumerate(evaluation.arms[0].rungs if evaluation.arms else ()):
        if rung.agent and rung.id not in SHOWN_BY_AGENT:
            continue
        found = [result.rungs[place] for result in evaluation.arms]
        cells = (rate(one.rate) for one in found)
        strict = "; ".join(
            f"{result.arm.id} {read_strictly(one)}"
            for result, one in zip(evaluation.arms, found, strict=True)
            if strictly_less(one)
        )
        notes = "; ".join(note for note in (rung.note, strict) if note)
        rows.append((rung_name(rung), *cells, notes))
    if evaluation.reference is not None:
        text = rate(evaluation.reference.rate)
        rows.append(("S4 of the rows' own answers", *(text for _ in evaluation.arms), "reference"))
    names = (result.arm.id for result in evaluation.arms)
    return Table("", ("rung", *names, "note"), tuple(rows))


def read_strictly(rung: Rung) -> str:
    """`read strictly 12/31  38.7 % (23.7 to 56.2)`; empty where that is about the same."""
    return f"read strictly {rate(rung.strict)}" if strictly_less(rung) else ""


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
            difference_of(pair),
            f"{pair.p:.3g}",
        )
        for pair in evaluation.paired
    )
    columns = ("tuned - base", "pairs", "fixed", "broken", "difference (95%)", "McNemar p")
    return Table("", columns, rows)


def suite_table(evaluation: Evaluation) -> Table:
    """The suites beside the held-out split: what each arm does, the difference, or why nothing."""
    rows = [row for suite in evaluation.suites for row in _suite_rows(suite)]
    return Table("", ("suite", "", "base", "tuned", "tuned - base (95%)"), tuple(rows))


def _suite_rows(suite: Suite) -> list[tuple[str, ...]]:
    if suite.not_measured:
        return [(suite.title, NOT_MEASURED, "", "", suite.not_measured)]
    if suite.likelihood is not None:
        found = suite.likelihood
        shown = [f"{one.mean:.3f}" for one in (found.base, found.tuned)]
        return [(suite.title, f"nats a token, {len(found.rows)} rows", *shown,
                 _mean_of(found.difference))]  # fmt: skip
    if suite.divergence is not None:
        kept = suite.divergence
        share = f"same top token {percent(kept.same_top)}"
        text = f"{kept.state}: mean KL {kept.mean_kl:.4f} nats, {share}, {kept.tokens} tokens"
        return [(suite.title, kept.quantization, "", "", text)]
    return _rate_rows(suite)


def _rate_rows(suite: Suite) -> list[tuple[str, ...]]:
    """The rung of right answers, by arm, and the pairs on it."""
    pair = next((pair for pair in suite.paired if pair.rung == "S4"), None)
    rates = {
        result.arm: rate(next((r.rate for r in result.rungs if r.id == "S4"), None))
        for result in suite.arms
    }
    change = NOT_MEASURED if pair is None else difference_of(pair)
    cells = (rates.get("base", ""), rates.get("tuned", ""))
    return [(suite.title, f"S4, {suite.n} tasks", *cells, change)]


def _mean_of(mean: Mean) -> str:
    if mean.low is None or mean.high is None:
        return f"{mean.mean:+.3f}"
    return f"{mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})"


def difference_of(pair: PairedOutcomes) -> str:
    """`+3.2 pp (-1.0 to +7.4)`."""
    low, high = 100 * pair.difference.low, 100 * pair.difference.high
    return f"{points(pair.difference.difference)} ({low:+.1f} to {high:+.1f})"


def baseline_table(evaluation: Evaluation) -> Table:
    """What was stated of the system in use, what its log says, and the tuned model beside both.

    Only like stands beside like: the log's success is that something came back (S0).
    """
    log, tuned = evaluation.baseline, evaluation.arm("tuned")
    if log is None or tuned is None or not tuned.recorded:
        return Table("", (), ())
    served = next(rung.rate for rung in tuned.rungs if rung.id == "S0")
    rows = (
        ("something came back (S0)", percent(STATED_SUCCESS), rate(log.success), rate(served)),
        (
            "mean latency",
            f"{STATED_LATENCY_S:.1f} s",
            f"{seconds(log.mean_latency_s)}, {log.n_latency} calls",
            mean_seconds(tuned.latency),
        ),
        (
            "median latency",
            "",
            seconds(log.median_latency_s),
            seconds(tuned.latency.p50_s),
        ),
    )
    return Table("", ("the system in use", "as stated", "by its log", "tuned, here"), rows)


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
        byte_size(result.peak_memory_bytes),
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
