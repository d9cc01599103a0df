"""What the numbers of an evaluation allow to be said, and what they do not.

Each sentence is made from what was measured: nothing is claimed of a suite that did not run, and
nothing that ran is called unknown.

All that a verdict, and what may be claimed beside it, is made from.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from journeyman.evaluate.measuring.rates import strictly_less
from journeyman.evaluate.records.evaluation import ArmResult, EvaluationPlan, Leak
from journeyman.evaluate.records.measurements import Validity
from journeyman.evaluate.records.scores import PairedOutcomes, Rung
from journeyman.evaluate.records.suites import Suite, SuiteName
from journeyman.formatting import percent
from journeyman.stats import CONFIDENCE, clopper_pearson_lower, needed_n

_UNKNOWN: dict[SuiteName, str] = {
    "humaneval": "what was forgotten",
    "probes": "whether instructions are still kept",
    "likelihood": "how likely the held-out answers are",
    "quantisation": "what quantising changed",
}


class SuccessCount(Struct, frozen=True, kw_only=True):
    """`success_k` of `success_n` clusters finished (S1).

    The checks of `excluded` tasks failed a canary. `sandbox` is True where code was run in the
    strict sandbox, `degraded` where it was run in that one.
    """

    plan: EvaluationPlan
    leak: Leak
    tuned: ArmResult | None
    base: ArmResult | None
    success_k: int
    success_n: int
    primary: PairedOutcomes | None
    sandbox: bool
    degraded: bool = False
    reference: Rung | None = None
    excluded: int = 0
    validity: tuple[Validity, ...] = ()
    suites: tuple[Suite, ...] = ()


def claims(evidence: SuccessCount) -> tuple[str, ...]:
    """All of it, the most important first."""
    return (
        *_success(evidence),
        *_right_answers(evidence),
        *_prompts(evidence),
        *(sentence for suite in evidence.suites for sentence in _suite(suite)),
        *_times(evidence.tuned),
        _not_measured(evidence.suites),
    )


def _success(evidence: SuccessCount) -> Iterator[str]:
    n, goal = evidence.success_n, evidence.plan.targets.success
    confidence = 1 - evidence.plan.alpha
    best, wanted = clopper_pearson_lower(n, n, confidence), needed_n(goal, confidence=confidence)
    yield (
        f"with {n} independent tasks the best provable rate is {percent(best)}; "
        f"{percent(goal)} needs {wanted} without a failure"
    )
    yield "success is S1 (finished); it does not say that an answer is right"


def _right_answers(evidence: SuccessCount) -> Iterator[str]:
    checks = evidence.plan.tasks_with_checks
    if not checks:
        yield "no task has a check: nothing is known about right answers, S2 is form"
    elif evidence.sandbox or evidence.degraded:
        yield (
            f"right answers (S4) are known for the {checks - evidence.excluded} tasks whose check "
            f"proved itself, of {checks} that have one"
        )
    else:
        yield f"the checks of {checks} tasks were not run: nothing is known about right answers"
    if evidence.reference is not None and (own := evidence.reference.rate) is not None:
        yield f"of the rows' own answers {own.k} of {own.n} pass their checks"
    yield from _strictly([one for one in (evidence.base, evidence.tuned) if one])


def _strictly(arms: Sequence[ArmResult]) -> Iterator[str]:
    """A rate that rests on how generously answers are read."""
    for result in arms:
        for rung in result.rungs:
            if rung.agent or rung.id not in ("S4", "S4t") or not (rung.rate and rung.strict):
                continue
            if strictly_less(rung):
                yield (
                    f"{rung.id} of {result.arm.id} is {percent(rung.rate.share)} as read here and "
                    f"{percent(rung.strict.share)} for a reader who takes nothing but one closed "
                    "block marked as Python"
                )


def _prompts(evidence: SuccessCount) -> Iterator[str]:
    plan = evidence.plan
    if plan.clusters < plan.rows:
        yield (
            f"{plan.rows} rows hold {plan.clusters} independent prompts: repeats add no evidence"
        )
    if plan.look > 1:
        yield (
            f"this is look {plan.look} at these test rows: every bound is at "
            f"{percent(1 - plan.alpha)} instead of {percent(CONFIDENCE)}"
        )


def _suite(suite: Suite) -> Iterator[str]:
    """What a suite that ran says, and how far."""
    pair = next((pair for pair in suite.paired if pair.rung == "S4"), None)
    if suite.name == "humaneval" and pair is not None:
        yield (
            f"what was forgotten is known for the {pair.n} public functions of {suite.title} and "
            "for nothing else; they are probably in the base's training data, so the difference "
            "counts and not the rate"
        )
    elif suite.name == "humaneval" and suite.arms:
        yield f"{suite.title} was asked and its checks were not run: what was forgotten is unknown"
    if suite.name == "probes" and pair is not None:
        yield f"{pair.n} probes say whether a form that was asked for is kept, not what is true"
    if suite.likelihood is not None:
        yield "likelihood says how well the rows' answers are imitated, not whether they are right"
    if suite.divergence is not None:
        yield (
            f"what quantising changed is known on {suite.divergence.tokens} tokens of held-out "
            "text, token by token, not in answers"
        )


def _times(tuned: ArmResult | None) -> Iterator[str]:
    if tuned is None or tuned.latency.mean is None:
        yield "nothing is known about latency"
    elif tuned.arm.engine == "llama.cpp":
        yield "latency holds for this machine, one request at a time, greedy decoding"
    else:
        yield "latency is torch's, which does not serve; greedy decoding"


def _not_measured(suites: Sequence[Suite]) -> str:
    ran = {suite.name for suite in suites if not suite.not_measured}
    missing = [text for name, text in _UNKNOWN.items() if name not in ran]
    return "not measured: " + ", ".join([*missing, "other prompts than these", "other sampling"])
