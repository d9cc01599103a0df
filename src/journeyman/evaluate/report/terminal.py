"""An evaluation as tables and lines for a terminal."""

from journeyman.evaluate.measuring.baseline import STATED_LATENCY_S, STATED_SUCCESS
from journeyman.evaluate.measuring.rates import strict_is_lower
from journeyman.evaluate.records.evaluation import ArmResult, Evaluation
from journeyman.evaluate.records.measurements import Latency
from journeyman.evaluate.records.scores import PairedOutcomes, Rung
from journeyman.evaluate.records.suites import Suite
from journeyman.events import Table
from journeyman.formatting import NOT_MEASURED, byte_size, percent, points, rate, seconds
from journeyman.stats import Mean

SHOWN_BY_AGENT = ("S2", "S3", "S4")
"""Rungs that mean something else for another agent: only these are shown by agent, too."""


def tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """Rungs by model, paired comparisons, latencies and suites; only tables that have rows."""
    every = (
        rung_table(evaluation),
        paired_table(evaluation),
        cost_table(evaluation),
        warm_table(evaluation),
        suite_table(evaluation),
        baseline_table(evaluation),
    )
    return tuple(table for table in every if table.rows)


def rung_table(evaluation: Evaluation) -> Table:
    """A row for each rung, a column for each model: `k/n  share (95 % interval)`."""
    rows: list[tuple[str, ...]] = []
    for place, rung in enumerate(evaluation.arms[0].rungs if evaluation.arms else ()):
        if rung.agent and rung.id not in SHOWN_BY_AGENT:
            continue
        by_arm = [result.rungs[place] for result in evaluation.arms]
        cells = (rate(one.rate) for one in by_arm)
        strict = "; ".join(
            f"{result.arm.id} {strict_rate(one)}"
            for result, one in zip(evaluation.arms, by_arm, strict=True)
            if strict_is_lower(one)
        )
        notes = "; ".join(note for note in (rung.note, strict) if note)
        rows.append((rung_name(rung), *cells, notes))
    if evaluation.reference is not None:
        text = rate(evaluation.reference.rate)
        rows.append(("S4 of the reference answers", *(text for _ in evaluation.arms), ""))
    names = (result.arm.id for result in evaluation.arms)
    return Table("", ("rung", *names, "note"), tuple(rows))


def strict_rate(rung: Rung) -> str:
    """`read strictly 12/31  38.7 % (23.7 to 56.2)`; empty if that is about the same."""
    return f"read strictly {rate(rung.strict)}" if strict_is_lower(rung) else ""


def rung_name(rung: Rung) -> str:
    """`S2 well-formed (coder)`."""
    return f"{rung.id} {rung.name}" + (f" ({rung.agent})" if rung.agent else "")


def paired_table(evaluation: Evaluation) -> Table:
    """Tuned minus base on the same tasks, rung by rung."""
    rows = tuple(
        (
            pair.rung,
            str(pair.n),
            str(pair.fixed),
            str(pair.broken),
            difference_text(pair),
            f"{pair.p:.3g}",
        )
        for pair in evaluation.paired
    )
    columns = ("tuned - base", "pairs", "fixed", "broken", "difference (95%)", "McNemar p")
    return Table("", columns, rows)


def suite_table(evaluation: Evaluation) -> Table:
    """The other suites: each model's result and the difference, or why there is none."""
    rows = [row for suite in evaluation.suites for row in _suite_rows(suite)]
    return Table("", ("suite", "", "base", "tuned", "tuned - base (95%)"), tuple(rows))


def _suite_rows(suite: Suite) -> list[tuple[str, ...]]:
    if suite.not_measured:
        return [(suite.title, NOT_MEASURED, "", "", suite.not_measured)]
    if suite.likelihood is not None:
        nats = suite.likelihood
        cells = [f"{one.mean:.3f}" for one in (nats.base, nats.tuned)]
        title = f"nats per token, {len(nats.rows)} rows"
        return [(suite.title, title, *cells, _mean_text(nats.difference))]
    if suite.divergence is not None:
        one = suite.divergence
        share = f"same top token {percent(one.same_top)}"
        text = f"{one.state}: mean KL {one.mean_kl:.4f} nats, {share}, {one.tokens} tokens"
        return [(suite.title, one.quantization, "", "", text)]
    return _rate_rows(suite)


def _rate_rows(suite: Suite) -> list[tuple[str, ...]]:
    """Right answers (S4) by model, and their paired comparison."""
    pair = next((pair for pair in suite.paired if pair.rung == "S4"), None)
    rates = {
        result.arm: rate(next((r.rate for r in result.rungs if r.id == "S4"), None))
        for result in suite.arms
    }
    change = NOT_MEASURED if pair is None else difference_text(pair)
    cells = (rates.get("base", ""), rates.get("tuned", ""))
    return [(suite.title, f"S4, {suite.n} tasks", *cells, change)]


def _mean_text(mean: Mean) -> str:
    if mean.low is None or mean.high is None:
        return f"{mean.mean:+.3f}"
    return f"{mean.mean:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})"


def difference_text(pair: PairedOutcomes) -> str:
    """`+3.2 pp (-1.0 to +7.4)`."""
    low, high = 100 * pair.difference.low, 100 * pair.difference.high
    return f"{points(pair.difference.difference)} ({low:+.1f} to {high:+.1f})"


def baseline_table(evaluation: Evaluation) -> Table:
    """The system in use, as stated and by its log, beside the tuned model.

    The log's success means only that something came back, so S0 is beside it.
    """
    log, tuned = evaluation.baseline, evaluation.arm("tuned")
    if log is None or tuned is None or not tuned.recorded:
        return Table("", (), ())
    served = next(rung.rate for rung in tuned.rungs if rung.id == "S0")
    rows = (
        ("served (S0)", percent(STATED_SUCCESS), rate(log.success), rate(served)),
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
    return Table("", ("the system in use", "as stated", "by its log", "tuned model, here"), rows)


def warm_table(evaluation: Evaluation) -> Table:
    """Cold beside warm latency, by model; no rows without a warm workload."""
    rows = tuple(
        (result.arm.id, name, *_warm_cells(latency))
        for result in evaluation.arms
        if result.warm is not None
        for name, latency in (("cold", result.latency), ("warm", result.warm))
    )
    columns = ("model", "", "answers", "mean (95%)", "p95", "TTFT", "decode", "repeats differ")
    return Table("", columns, rows)


def _warm_cells(latency: Latency) -> tuple[str, ...]:
    return (
        str(latency.answered),
        mean_seconds(latency),
        seconds(latency.p95_s),
        seconds(latency.first_token_s),
        _tokens_per_s(latency),
        "" if latency.repeat_spread is None else f"by {percent(latency.repeat_spread)}",
    )


def _tokens_per_s(latency: Latency) -> str:
    rate = latency.tokens_per_s
    return NOT_MEASURED if rate is None else f"{rate:.1f} tok/s"


def cost_table(evaluation: Evaluation) -> Table:
    """Latency, tokens per second and memory by model."""
    rows = tuple(_cost_cells(result) for result in evaluation.arms)
    columns = (
        "model", "answers", "mean (95%)", "p50", "p95", "max", "TTFT", "decode", "peak memory",
        "load",
    )  # fmt: skip
    return Table("", columns, rows)


def _cost_cells(result: ArmResult) -> tuple[str, ...]:
    latency = result.latency
    return (
        result.arm.id,
        f"{latency.answered}/{latency.planned}",
        mean_seconds(latency),
        seconds(latency.p50_s),
        seconds(latency.p95_s),
        seconds(latency.max_s),
        seconds(latency.first_token_s),
        _tokens_per_s(latency),
        byte_size(result.peak_memory_bytes),
        seconds(result.load_s),
    )


def mean_seconds(latency: Latency) -> str:
    """`1.23 s (1.01 to 1.50)`."""
    mean = latency.mean
    if mean is None:
        return seconds(None)
    if mean.low is None or mean.high is None:
        return seconds(mean.mean)
    return f"{seconds(mean.mean)} ({mean.low:.2f} to {mean.high:.2f})"


def verdict_lines(evaluation: Evaluation) -> tuple[str, ...]:
    """The verdict for a terminal: headline, criteria, reasons, claims and next steps."""
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
