"""What the numbers of an evaluation allow to be said, and what they do not.

Each sentence comes from what was measured: a suite that did not run is named as not measured, and
one that ran says how far its result reaches.
"""

from collections.abc import Iterator, Sequence

from journeyman.evaluate.measuring.rates import strict_is_lower
from journeyman.evaluate.records.evaluation import ArmResult
from journeyman.evaluate.records.suites import Suite, SuiteName
from journeyman.evaluate.verdict.evidence import VerdictEvidence
from journeyman.formatting import percent
from journeyman.stats import CONFIDENCE, clopper_pearson_lower, needed_n

_MEASURES: dict[SuiteName, str] = {
    "humaneval": "forgetting",
    "probes": "whether instructions are still followed",
    "likelihood": "the likelihood of the reference answers",
    "quantisation": "the loss by quantisation",
}


def claims(evidence: VerdictEvidence) -> tuple[str, ...]:
    """All claims, the most important first."""
    return (
        *_success(evidence),
        *_right_answers(evidence),
        *_prompts(evidence),
        *(sentence for suite in evidence.suites for sentence in _suite(suite)),
        _latency(evidence.tuned),
        _not_measured(evidence.suites),
    )


def _success(evidence: VerdictEvidence) -> Iterator[str]:
    n, goal = evidence.success_n, evidence.plan.targets.success
    confidence = 1 - evidence.plan.alpha
    best, wanted = clopper_pearson_lower(n, n, confidence), needed_n(goal, confidence=confidence)
    yield (
        f"{n} independent tasks can prove a rate of {percent(best)} at best; proving "
        f"{percent(goal)} takes {wanted} without a failure"
    )
    yield "success means that an answer is finished (S1), not that it is right"


def _right_answers(evidence: VerdictEvidence) -> Iterator[str]:
    checks = evidence.plan.tasks_with_checks
    if not checks:
        yield "no task has a check: right answers were not counted, and S2 is about form only"
    elif evidence.sandbox in ("strict", "degraded"):
        yield (
            f"right answers (S4) were counted on {checks - evidence.excluded} of {checks} tasks "
            "with checks: those whose checks tell right from wrong code"
        )
    else:
        yield f"the checks of {checks} tasks were not run: right answers were not counted"
    if evidence.reference is not None and (rate := evidence.reference.rate) is not None:
        yield f"{rate.k} of {rate.n} reference answers pass their checks"
    for result in (evidence.base, evidence.tuned):
        if result is not None:
            yield from _strict_reading(result)


def _strict_reading(result: ArmResult) -> Iterator[str]:
    """The rates that depend on how leniently answers are read."""
    for rung in result.rungs:
        if rung.agent or rung.id not in ("S4", "S4t") or not strict_is_lower(rung):
            continue
        if rung.rate and rung.strict:
            yield (
                f"{rung.id} of the {result.arm.id} model is {percent(rung.rate.share)} as read "
                f"here, and {percent(rung.strict.share)} if only one closed block marked as Python "
                "counts as code"
            )


def _prompts(evidence: VerdictEvidence) -> Iterator[str]:
    plan = evidence.plan
    if plan.clusters < plan.rows:
        yield (
            f"{plan.rows} rows hold {plan.clusters} independent prompts: repeats add no evidence"
        )
    if plan.look > 1:
        yield (
            f"this is test-set use {plan.look} of these rows: every bound is at "
            f"{percent(1 - plan.alpha)} instead of {percent(CONFIDENCE)}"
        )


def _suite(suite: Suite) -> Iterator[str]:
    """What a suite that ran shows, and how far."""
    pair = next((pair for pair in suite.paired if pair.rung == "S4"), None)
    if suite.name == "humaneval" and pair is not None:
        yield (
            f"forgetting was measured on the {pair.n} public functions of {suite.title} only; they "
            "are probably in the base model's training data, so the difference counts and not the "
            "rate"
        )
    elif suite.name == "humaneval" and suite.arms:
        yield f"{suite.title} was asked, but its checks were not run: forgetting is unknown"
    if suite.name == "probes" and pair is not None:
        yield (
            f"the {pair.n} probes show whether answers keep a requested form, not whether they are "
            "true"
        )
    if suite.likelihood is not None:
        yield (
            "the likelihood shows how well the reference answers are imitated, not whether they "
            "are right"
        )
    if suite.divergence is not None:
        yield (
            "the loss by quantisation was measured token by token on "
            f"{suite.divergence.tokens} tokens of held-out text, not on answers"
        )


def _latency(tuned: ArmResult | None) -> str:
    if tuned is None or tuned.latency.mean is None:
        return "latency was not measured"
    if tuned.arm.engine == "llama.cpp":
        return "the latency holds for this machine, one request at a time, greedy decoding"
    return "the latency is that of torch, which will not serve the model; greedy decoding"


def _not_measured(suites: Sequence[Suite]) -> str:
    ran = {suite.name for suite in suites if not suite.not_measured}
    missing = [text for name, text in _MEASURES.items() if name not in ran]
    return "not measured: " + ", ".join([*missing, "other prompts", "other sampling"])
