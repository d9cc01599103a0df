"""The verdict: fixed criteria, one-sided bounds, and what the numbers cannot claim.

DEPLOY needs every criterion to PASS (an intersection-union test: each at the plan's alpha keeps the
whole at alpha). INVALID: the numbers must not be used. ABORT: another round cannot help.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from journeyman.evaluate.records.evaluation import ArmResult, Criterion, Label, Verdict
from journeyman.evaluate.records.scores import PairedOutcomes
from journeyman.evaluate.verdict import criteria
from journeyman.evaluate.verdict.claims import claims
from journeyman.evaluate.verdict.criteria import tokens_in_time
from journeyman.evaluate.verdict.evidence import VerdictEvidence
from journeyman.evaluate.verdict.validity import not_contaminated

EXIT_CODES: Mapping[Label, int] = {"DEPLOY": 0, "ITERATE": 10, "ABORT": 11, "INVALID": 12}
"""Exit codes for scripts; none of them is that of an error (`journeyman.errors`)."""

SMALLEST_BITS = 4
FEWEST_TOKENS = 64
"""A model that writes fewer tokens than this within the latency target cannot answer code tasks."""


class DeployBlocker(Struct, frozen=True):
    """Something that forbids DEPLOY though no criterion measures it, and what to do about it."""

    reason: str
    action: str


def judge(evidence: VerdictEvidence) -> Verdict:
    """The verdict on the tuned model."""
    invalid = [gate for gate in evidence.validity if gate.ok is False]
    tuned = evidence.tuned
    if invalid or tuned is None:
        return Verdict(
            label="INVALID",
            headline="INVALID: these numbers must not be used",
            criteria=(),
            reasons=tuple(gate.text for gate in invalid) or ("there is no tuned model",),
            claims=(),
            next_steps=tuple(dict.fromkeys(gate.action for gate in invalid if gate.action)),
        )
    results = criterion_results(evidence, tuned)
    blockers = list(deploy_blockers(evidence))
    label = label_of(results, tuned, blocked=bool(blockers), use=evidence.plan.look)
    actions = [one.action for one in results if one.action] + [one.action for one in blockers]
    if evidence.plan.look > 1 and label != "DEPLOY":
        actions.append("hold out fresh prompts: every further use of these rows widens the bounds")
    return Verdict(
        label=label,
        headline=headline(label, results, evidence.primary),
        criteria=results,
        reasons=tuple(one.reason for one in blockers),
        claims=claims(evidence),
        next_steps=tuple(dict.fromkeys(actions)),
    )


def criterion_results(evidence: VerdictEvidence, tuned: ArmResult) -> tuple[Criterion, ...]:
    """Every criterion with its result. Forgetting counts only if the HumanEval suite is there."""
    targets, alpha = evidence.plan.targets, evidence.plan.alpha
    public = [suite for suite in evidence.suites if suite.name == "humaneval"]
    return (
        criteria.success(evidence.success_k, evidence.success_n, tuned, targets, alpha),
        criteria.latency(tuned, targets),
        criteria.memory(tuned, targets),
        criteria.no_regression(evidence.primary, targets, alpha),
        *(criteria.nothing_forgotten(suite, targets, alpha) for suite in public),
        criteria.gain(evidence.primary, targets, alpha),
    )


def deploy_blockers(evidence: VerdictEvidence) -> Iterator[DeployBlocker]:
    """What forbids DEPLOY: nothing is deployed unchecked, or other than it was measured."""
    if evidence.plan.tasks_with_checks and evidence.sandbox == "degraded":
        yield DeployBlocker(
            "the checks ran in the degraded sandbox, which isolates code too little to deploy on",
            "evaluate with `--sandbox strict`, on a machine that allows user namespaces",
        )
    elif evidence.plan.tasks_with_checks and evidence.sandbox != "strict":
        yield DeployBlocker(
            "the checks were not run: no sandbox", "install bubblewrap, which the sandbox needs"
        )
    reference = evidence.reference.rate if evidence.reference else None
    if reference is not None and reference.k == 0:
        yield DeployBlocker(
            "no reference answer passes its check: the checks cannot be trusted",
            "read the failure codes of the reference answers in the result, and repair the checks",
        )
    if evidence.tuned is not None and evidence.tuned.arm.engine != "llama.cpp":
        yield DeployBlocker(
            "measured in torch, not in the engine that will serve",
            "convert the adapter (`journeyman convert`) and evaluate the GGUF",
        )
    gate = not_contaminated(evidence.leak)
    if not evidence.leak.files:
        yield DeployBlocker(gate.text, gate.action)


def label_of(
    results: Sequence[Criterion], tuned: ArmResult, *, blocked: bool, use: int = 1
) -> Label:
    """DEPLOY if all criteria pass and nothing blocks it; ABORT if no further round can help.

    That is: too large or too slow at the smallest quantisation, or at a second or later test-set
    use proven to be no better, or to be worse.
    """
    states = {criterion.id: criterion.state for criterion in results}
    if not blocked and set(states.values()) == {"PASS"}:
        return "DEPLOY"
    too_slow = states.get("latency") == "FAIL" and _writes_too_few_tokens(tuned)
    if is_smallest(tuned.arm.quantization) and (states.get("memory") == "FAIL" or too_slow):
        return "ABORT"
    worse = {"gain", "no_regression", "forgetting"} & {k for k, v in states.items() if v == "FAIL"}
    return "ABORT" if worse and use > 1 else "ITERATE"


def is_smallest(quantization: str) -> bool:
    """True for 4 bits and fewer: what is lost below that is not worth the bytes saved."""
    bits = quantization.upper().removeprefix("I").removeprefix("T").removeprefix("Q")[:1]
    return bits.isdigit() and int(bits) <= SMALLEST_BITS


def _writes_too_few_tokens(tuned: ArmResult) -> bool:
    tokens = tokens_in_time(tuned)
    return tokens is not None and tokens < FEWEST_TOKENS


def headline(label: Label, results: Sequence[Criterion], primary: PairedOutcomes | None) -> str:
    """The verdict in one sentence, which also says plainly whether tuning gained anything."""
    passed = sum(criterion.state == "PASS" for criterion in results)
    return f"{label}: {passed} of {len(results)} criteria hold; {advice(label, primary)}"


def advice(label: Label, primary: PairedOutcomes | None) -> str:
    """Which model to use, by what tuning gained."""
    if label == "DEPLOY":
        return "deploy the tuned model"
    if primary is None:
        return "keep the base model: whether tuning gained anything was not measured"
    tuned, base = primary.both + primary.fixed, primary.both + primary.broken
    counts = f"{primary.rung}: tuned {tuned}, base {base} of {primary.n}"
    if primary.lower > 0:
        return f"tuning helps ({counts}), but that is not enough to deploy"
    if primary.fixed > primary.broken:
        return f"keep the base model for now: the gain is not proven ({counts})"
    return f"keep the base model: tuning gained nothing ({counts})"
