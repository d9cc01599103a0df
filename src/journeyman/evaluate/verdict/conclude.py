"""From scored answers to every number, the gates and the verdict: nothing is measured here.

Equal findings give an equal result on any machine. `journeyman verify` relies on that: it makes the
result again from what a report stores and lists the differences.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from journeyman.evaluate.asking.plan import plan_sha256
from journeyman.evaluate.measuring.check_trust import (
    counted_tasks,
    excluded_tasks,
    reference_rung,
)
from journeyman.evaluate.measuring.latency import latency_difference, warm_latency
from journeyman.evaluate.measuring.rates import arm_result, clusters_passing, paired_comparison
from journeyman.evaluate.records.evaluation import (
    Arm,
    ArmResult,
    Baseline,
    Contamination,
    Environment,
    Evaluation,
    EvaluationPlan,
)
from journeyman.evaluate.records.measurements import Prediction, Timing
from journeyman.evaluate.records.scores import (
    EvaluationTask,
    PairedOutcomes,
    RungId,
    ScoredItem,
)
from journeyman.evaluate.records.suites import CheckTrust, Suite
from journeyman.evaluate.verdict.evidence import VerdictEvidence
from journeyman.evaluate.verdict.validity import gates
from journeyman.evaluate.verdict.verdict import judge
from journeyman.llama_cpp.bench import BenchRates

COMPARED_RUNGS: tuple[RungId, ...] = ("S1", "S2", "S3", "S4", "S4t")


class Findings(Struct, frozen=True, kw_only=True):
    """All that an evaluation measured or read, and nothing that follows from it.

    `rates` are llama-bench's by model. `suites` come with their results.
    """

    plan: EvaluationPlan
    environment: Environment
    leak: Contamination
    tasks: tuple[EvaluationTask, ...]
    arms: tuple[Arm, ...] = ()
    items: tuple[ScoredItem, ...] = ()
    timings: tuple[Timing, ...] = ()
    rates: Mapping[str, BenchRates] = field(default_factory=dict)
    canaries: tuple[CheckTrust, ...] = ()
    suites: tuple[Suite, ...] = ()
    baseline: Baseline | None = None


def conclude(findings: Findings) -> Evaluation:
    """The whole result."""
    plan = findings.plan
    tasks = counted_tasks(findings.tasks, findings.canaries)
    arms = tuple(_arm(arm, tasks, findings) for arm in findings.arms)
    pairs = tuple(
        pair
        for rung in COMPARED_RUNGS
        if (pair := paired_comparison(rung, tasks, findings.items, alpha=plan.alpha)) is not None
    )
    evidence = _evidence(findings, tasks, arms, pairs)
    items = [one.item for one in findings.items]
    return Evaluation(
        verdict=judge(evidence),
        plan=plan,
        plan_sha256=plan_sha256(plan),
        environment=findings.environment,
        leak=findings.leak,
        validity=evidence.validity,
        arms=arms,
        paired=pairs,
        latency_difference=latency_difference(tasks, items, plan.seed, alpha=plan.alpha),
        baseline=findings.baseline,
        reference=evidence.reference,
        excluded=excluded_tasks(findings.canaries),
        canaries=findings.canaries,
        tasks=findings.tasks,
        items=findings.items,
        timings=findings.timings,
        suites=findings.suites,
    )


def _evidence(
    findings: Findings,
    tasks: Sequence[EvaluationTask],
    arms: Sequence[ArmResult],
    pairs: Sequence[PairedOutcomes],
) -> VerdictEvidence:
    """What the verdict rests on, the gates included."""
    results = {result.arm.id: result for result in arms}
    k, n = clusters_passing("S1", tasks, [one for one in findings.items if one.item.arm == "tuned"])
    return VerdictEvidence(
        plan=findings.plan,
        leak=findings.leak,
        tuned=results.get("tuned"),
        base=results.get("base"),
        success_k=k,
        success_n=n,
        primary=_primary(pairs, with_checks=findings.plan.tasks_with_checks > 0),
        sandbox=findings.environment.sandbox,
        reference=reference_rung(findings.tasks, findings.canaries),
        excluded=len(excluded_tasks(findings.canaries)),
        validity=gates(
            findings.plan,
            findings.leak,
            arms,
            tasks,
            findings.items,
            suites=findings.suites,
            canaries=findings.canaries,
        ),
        suites=findings.suites,
    )


def _arm(arm: Arm, tasks: Sequence[EvaluationTask], findings: Findings) -> ArmResult:
    plan, cores = findings.plan, findings.environment.cores
    items = [one for one in findings.items if one.item.arm == arm.id]
    cold = arm_result(arm, tasks, items, plan.seed, alpha=plan.alpha, cores=cores)
    warm = warm_latency(arm.id, tasks, findings.timings, plan.seed, cores=cores)
    memories = [t.item.memory for t in findings.timings if t.item.arm == arm.id and t.item.memory]
    peaks = [memory.peak_bytes or 0 for memory in memories]
    return replace(
        cold,
        warm=warm,
        peak_memory_bytes=max([cold.peak_memory_bytes or 0, *peaks]) or None,
        prediction=_prediction(cold, findings.rates.get(arm.id)),
    )


def _prediction(result: ArmResult, rates: BenchRates | None) -> Prediction | None:
    """What llama-bench's rates predict for the measured lengths."""
    latency = result.latency
    if rates is None or latency.mean is None:
        return None
    if latency.prompt_tokens is None or latency.answer_tokens is None:
        return None
    reading = latency.prompt_tokens / rates.prompt_tokens_per_s
    writing = latency.answer_tokens / rates.decode_tokens_per_s
    return Prediction(
        prompt_tokens_per_s=rates.prompt_tokens_per_s,
        decode_tokens_per_s=rates.decode_tokens_per_s,
        prompt_tokens=latency.prompt_tokens,
        answer_tokens=latency.answer_tokens,
        predicted_s=reading + writing,
        measured_s=latency.mean.mean,
    )


def _primary(pairs: Sequence[PairedOutcomes], *, with_checks: bool) -> PairedOutcomes | None:
    """What both models are judged by: S4 if tasks have checks, run or not; otherwise S2."""
    wanted: tuple[RungId, ...] = ("S4", "S4t") if with_checks else ("S2",)
    return next((pair for pair in pairs if pair.rung in wanted), None)
