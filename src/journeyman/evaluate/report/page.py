"""An evaluation as one self-contained page: `page.html`, and what it shows, ready to show.

Models' answers are hostile text: the template escapes every value, and the page loads and runs
nothing (its own policy forbids it).
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from journeyman.evaluate.records.evaluation import ArmResult, Environment, Evaluation
from journeyman.evaluate.records.scores import PairedOutcomes, Rung
from journeyman.evaluate.records.suites import CheckTrust, Likelihood, QuantisationDivergence, Suite
from journeyman.evaluate.report.charts import (
    REACH,
    IntervalBar,
    difference_bar,
    latency_charts,
    memory_chart,
    rate_bar,
)
from journeyman.evaluate.report.tasks import task_parts
from journeyman.evaluate.report.terminal import (
    SHOWN_BY_AGENT,
    baseline_table,
    cost_table,
    rung_name,
    strict_rate,
    warm_table,
)
from journeyman.formatting import NOT_MEASURED, byte_size, percent, points, rate, seconds
from journeyman.html.environment import render

LEGEND = "Solid line and filled dots: tuned model. Dashed line and hollow dots: base model."
_GATES = {"leak": "contamination", "canaries": "check trust", "tests": "check steps"}
_GATE_STATES = {True: "holds", False: "FAILS", None: "not known"}


class RungRow(Struct, frozen=True):
    """One model on one rung. `bar` is None if it was not measured."""

    name: str
    arm: str
    passed: str
    bar: IntervalBar | None
    failures: str
    strict: str
    note: str


class PairRow(Struct, frozen=True):
    """Tuned minus base on one rung of one suite."""

    suite: str
    pair: PairedOutcomes
    p: str
    bar: IntervalBar


class SuitePart(Struct, frozen=True):
    """A suite besides the held-out split, with its rates and what else it shows."""

    title: str
    suite: Suite
    rates: tuple[RungRow, ...]
    sentences: tuple[str, ...]
    check_trust: str
    excluded: str


def page(evaluation: Evaluation) -> str:
    """The whole page as text."""
    verdict, plan, reference = evaluation.verdict, evaluation.plan, evaluation.reference
    share_by_time, time_by_length = latency_charts(evaluation)
    return render(
        "evaluate/report/page.html",
        evaluation=evaluation,
        verdict=verdict,
        plan=plan,
        sentence=verdict.headline.removeprefix(f"{verdict.label}: "),
        models=", ".join(
            f"{one.arm.id}: {one.arm.name} {one.arm.quantization}" for one in evaluation.arms
        ),
        bounds=percent(1 - plan.alpha),
        baseline=baseline_table(evaluation),
        rungs=list(_rung_rows(evaluation.arms)),
        reference="" if reference is None else rate(reference.rate),
        extract_rules={
            one.arm.id: counted_words(one.extract_rules)
            for one in evaluation.arms
            if one.extract_rules
        },
        pairs=list(_pair_rows(evaluation)),
        reach=(points(-REACH), points(REACH)),
        gates=[
            (_GATE_STATES[gate.ok], _GATES.get(gate.id, gate.id), gate.text)
            for gate in evaluation.validity
        ],
        check_trust=check_trust_sentence(evaluation.canaries),
        suites=[_suite_part(suite) for suite in evaluation.suites],
        cost=cost_table(evaluation),
        share_by_time=share_by_time,
        time_by_length=time_by_length,
        target_s=f"{plan.targets.latency_s:g}",
        legend=LEGEND,
        warm=warm_table(evaluation),
        times=list(_time_sentences(evaluation)),
        memory=memory_chart(evaluation, "; ".join(_memory_texts(evaluation))),
        limit_gib=f"{plan.targets.memory_bytes / 2**30:g}",
        tasks=list(task_parts(evaluation)),
        origin=list(_origin(evaluation)),
    )


def _rung_rows(arms: Sequence[ArmResult]) -> Iterator[RungRow]:
    """Rung by rung, the models below each other; only the first row names the rung."""
    for rungs in zip(*(result.rungs for result in arms), strict=True):
        for number, (result, rung) in enumerate(zip(arms, rungs, strict=True)):
            row = _rung_row(result.arm.id, rung)
            yield row if number == 0 else replace(row, name="", note="")


def _rung_row(arm: str, rung: Rung) -> RungRow:
    return RungRow(
        name=rung_name(rung),
        arm=arm,
        passed=rate(rung.rate),
        bar=None if rung.rate is None else rate_bar(rung.rate, arm, target=rung.id == "S1"),
        failures=counted_words(rung.codes),
        strict=strict_rate(rung),
        note=rung.note,
    )


def counted_words(counts: Mapping[str, int]) -> str:
    """`limit 3, syntax 1`."""
    return ", ".join(f"{word} {count}" for word, count in counts.items())


def _pair_rows(evaluation: Evaluation) -> Iterator[PairRow]:
    """The held-out tasks first, then the public tasks and probes."""
    targets = evaluation.plan.targets
    suites = (("held-out", evaluation.paired), *((s.title, s.paired) for s in evaluation.suites))
    for title, pairs in suites:
        for pair in pairs:
            margin = targets.small_margin if pair.n <= targets.small_n else targets.margin
            yield PairRow(title, pair, f"{pair.p:.3g}", difference_bar(pair, margin))


def check_trust_sentence(tried: Sequence[CheckTrust]) -> str:
    """How many tasks have checks that tell right from wrong code, and by which trials."""
    trusted = [one for one in tried if not one.failed]
    refused, mutants = sum(one.refused for one in trusted), sum(one.mutants for one in trusted)
    return (
        f"The checks of {len(trusted)} of {len(tried)} tasks count: they pass the reference "
        "answer, refuse the same code with empty bodies and code that exits early, and notice "
        f"small mistakes ({refused} of {mutants} mutants refused)."
        + (" The others are left out of S4." if len(trusted) < len(tried) else "")
    )


def _suite_part(suite: Suite) -> SuitePart:
    sentences = []
    if suite.likelihood is not None:
        sentences.append(_likelihood(suite.likelihood))
    if suite.divergence is not None:
        sentences.append(_divergence(suite.divergence))
    names = {task.id: task.task_id or task.id for task in suite.tasks}
    return SuitePart(
        title=_suite_title(suite),
        suite=suite,
        rates=tuple(
            _rung_row(arm.arm, rung)
            for arm in suite.arms
            for rung in arm.rungs
            if not rung.agent or rung.id in SHOWN_BY_AGENT
        ),
        sentences=tuple(sentences),
        check_trust=check_trust_sentence(suite.canaries) if suite.canaries else "",
        excluded=", ".join(
            f"{names.get(one.task, one.task)} ({one.canary})" for one in suite.excluded
        ),
    )


def _suite_title(suite: Suite) -> str:
    """`HumanEval: 60 tasks, 58 independent`; a suite that was not measured has no counts."""
    if suite.not_measured:
        return suite.title
    if suite.divergence is not None:
        return f"{suite.title}: {suite.n} tokens"
    unit = "tasks" if suite.likelihood is None else "rows"
    return f"{suite.title}: {suite.n} {unit}, {suite.clusters} independent"


def _likelihood(likelihood: Likelihood) -> str:
    change = likelihood.difference
    ends = (
        ""
        if change.low is None or change.high is None
        else f" ({change.low:+.3f} to {change.high:+.3f}, 95 %)"
    )
    return (
        f"Nats per token of the reference answers: base {likelihood.base.mean:.3f}, tuned "
        f"{likelihood.tuned.mean:.3f}, tuned minus base {change.mean:+.3f}{ends}; below 0 is a "
        f"gain. {change.n} answers, {likelihood.method}. It shows how well the answers are "
        "imitated, not whether they are right."
    )


def _divergence(one: QuantisationDivergence) -> str:
    return (
        f"{one.state}: {one.quantization} against F16 on {one.tokens} tokens: mean KL "
        f"{one.mean_kl:.4f} (limit {one.limit_kl:g}), 99th percentile {one.p99_kl:.3f}; the most "
        f"likely next token is the same for {percent(one.same_top)} "
        f"(limit {percent(one.limit_same_top)}); perplexity {one.perplexity_f16:.2f} to "
        f"{one.perplexity:.2f}."
    )


def _time_sentences(evaluation: Evaluation) -> Iterator[str]:
    change = evaluation.latency_difference
    if change is not None and change.low is not None and change.high is not None:
        yield (
            f"Tuned minus base on the same tasks: {change.mean:+.2f} s "
            f"({change.low:+.2f} to {change.high:+.2f}, 95 %, {change.clusters} independent tasks)."
        )
    for result in evaluation.arms:
        predicted, latency = result.prediction, result.latency
        if predicted is not None:
            yield (
                f"{result.arm.id}: llama-bench reads {predicted.prompt_tokens_per_s:.1f} and "
                f"writes {predicted.decode_tokens_per_s:.1f} tokens per second, which predicts "
                f"{seconds(predicted.predicted_s)}; measured {seconds(predicted.measured_s)}."
            )
        if latency.other_load is not None and latency.cores:
            yield (
                f"{result.arm.id}: meanwhile other programs kept {latency.other_load:.2f} of "
                f"{latency.cores} cores busy."
            )
        if latency.overhead_share is not None:
            share = percent(max(0.0, latency.overhead_share))
            yield f"{result.arm.id}: {share} of the latency is outside the server's own clock."


def _memory_texts(evaluation: Evaluation) -> Iterator[str]:
    """The memory of each model's server at its peak, and at the end."""
    for result in evaluation.arms:
        text = f"{result.arm.id}: peak {byte_size(result.peak_memory_bytes)}"
        memories = evaluation.memory_of(result.arm.id)
        if memories:
            text += (
                f", at the end {byte_size(memories[-1].anonymous_bytes)} anonymous, "
                f"{byte_size(memories[-1].file_bytes)} of files, "
                f"{byte_size(memories[-1].proportional_bytes)} PSS"
            )
        yield text


def _sandbox_text(place: Environment) -> str:
    """The profile that ran the code, and the result of its self test."""
    test = place.self_test
    if test is None or not test.attacks:
        return place.sandbox if test is None or not test.reason else f"none ({test.reason})"
    held = len(test.attacks) - len(test.failed)
    return f"{place.sandbox} (self test: {held} of {len(test.attacks)} attacks held)"


def _origin(evaluation: Evaluation) -> Iterator[str]:
    plan, place = evaluation.plan, evaluation.environment
    load = NOT_MEASURED if place.load_average is None else f"{place.load_average:.2f}"
    yield (
        f"plan {evaluation.plan_sha256[:16] or 'without a hash'}, fixed before the first answer; "
        f"test-set use {plan.look} of these rows, each one-sided bound at {percent(1 - plan.alpha)}"
    )
    yield (
        f"test rows: {plan.test_data} (sha256 {plan.test_sha256[:16]}), {plan.rows} rows, "
        f"{plan.tasks} tasks, {plan.clusters} independent"
    )
    yield f"decoding: {plan.decoding}, at most {plan.max_tokens} tokens, seed {plan.seed}"
    yield f"machine: {place.machine}; load before {load}; sandbox {_sandbox_text(place)}"
    yield "versions: " + ", ".join(f"{name} {value}" for name, value in place.versions.items())
    for result in evaluation.arms:
        yield f"{result.arm.id}: {result.arm.engine}, sha256 {result.arm.sha256[:16]}"
    for arm in plan.arms:
        if arm.command:
            yield f"{arm.id} is served by: {shlex.join(arm.command)}"
    yield f"created: {place.created_utc}"
    yield "to recompute these numbers: `journeyman verify RESULT.json`"
