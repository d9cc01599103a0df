"""From scored answers to every number, the gates and the verdict: nothing is measured here.

Equal findings give an equal result, on any machine. `journeyman verify` rests on that: it makes the
result again from what a report stores and says what differs.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from journeyman.evaluate.asking.plan import plan_sha256
from journeyman.evaluate.measuring.check_trust import CheckTrustTotals
from journeyman.evaluate.measuring.latency import difference, warm_latency
from journeyman.evaluate.measuring.rates import arm_result, clusters_passing, paired
from journeyman.evaluate.records.evaluation import (
    Arm,
    ArmResult,
    Baseline,
    Environment,
    Evaluation,
    EvaluationPlan,
    Leak,
)
from journeyman.evaluate.records.measurements import Prediction, Timing
from journeyman.evaluate.records.scores import (
    ArmId,
    EvaluationTask,
    PairedOutcomes,
    RungId,
    ScoredItem,
)
from journeyman.evaluate.records.suites import CheckTrust, Suite
from journeyman.evaluate.verdict.claims import SuccessCount
from journeyman.evaluate.verdict.validity import gates
from journeyman.evaluate.verdict.verdict import judge
from journeyman.llama_cpp.bench import BenchRates

COMPARED_RUNGS: tuple[RungId, ...] = ("S1", "S2", "S3", "S4", "S4t")


class Findings(Struct, frozen=True, kw_only=True):
    """All that an evaluation measured or read, and nothing that follows from it.

    `rates` are llama-bench's by arm. `suites` come with their numbers made.
    """

    plan: EvaluationPlan
    environment: Environment
    leak: Leak
    tasks: tuple[EvaluationTask, ...]
    arms: tuple[Arm, ...] = ()
    items: tuple[ScoredItem, ...] = ()
    timings: tuple[Timing, ...] = ()
    rates: Mapping[str, BenchRates] = field(default_factory=dict)
    canaries: tuple[CheckTrust, ...] = ()
    suites: tuple[Suite, ...] = ()
    baseline: Baseline | None = None


def concluded(findings: Findings) -> Evaluation:
    """The whole result."""
    plan = findings.plan
    canaries = CheckTrustTotals(findings.canaries)
    tasks, reference = canaries.counted(findings.tasks), canaries.reference(findings.tasks)
    arms = tuple(_arm(arm, tasks, findings) for arm in findings.arms)
    found = (paired(rung, tasks, findings.items, alpha=plan.alpha) for rung in COMPARED_RUNGS)
    pairs = tuple(pair for pair in found if pair is not None)
    validity = gates(
        plan,
        findings.leak,
        arms,
        tasks,
        findings.items,
        suites=findings.suites,
        canaries=findings.canaries,
    )
    items = [one.item for one in findings.items]
    tuned = [one for one in findings.items if one.item.arm == "tuned"]
    k, n = clusters_passing("S1", tasks, tuned)
    verdict = judge(
        SuccessCount(
            plan=plan,
            leak=findings.leak,
            tuned=_result("tuned", arms),
            base=_result("base", arms),
            success_k=k,
            success_n=n,
            primary=primary(pairs, with_checks=plan.tasks_with_checks > 0),
            sandbox=findings.environment.sandbox == "strict",
            degraded=findings.environment.sandbox == "degraded",
            reference=reference,
            excluded=len(canaries.excluded),
            validity=validity,
            suites=findings.suites,
        )
    )
    return Evaluation(
        verdict=verdict,
        plan=plan,
        plan_sha256=plan_sha256(plan),
        environment=findings.environment,
        leak=findings.leak,
        validity=validity,
        arms=arms,
        paired=pairs,
        latency_difference=difference(tasks, items, plan.seed, alpha=plan.alpha),
        baseline=findings.baseline,
        reference=reference,
        excluded=canaries.excluded,
        canaries=findings.canaries,
        tasks=findings.tasks,
        items=findings.items,
        timings=findings.timings,
        suites=findings.suites,
    )


def _arm(arm: Arm, tasks: Sequence[EvaluationTask], findings: Findings) -> ArmResult:
    plan, cores = findings.plan, findings.environment.cores
    items = [one for one in findings.items if one.item.arm == arm.id]
    cold = arm_result(arm, tasks, items, plan.seed, alpha=plan.alpha, cores=cores)
    warm = warm_latency(arm.id, tasks, findings.timings, plan.seed, cores=cores)
    warmed = [t.item.memory for t in findings.timings if t.item.arm == arm.id and t.item.memory]
    peaks = [memory.peak_bytes or 0 for memory in warmed]
    peak = max([cold.peak_memory_bytes or 0, *peaks]) or None
    return replace(
        cold,
        warm=warm,
        peak_memory_bytes=peak,
        prediction=_prediction(cold, findings.rates.get(arm.id)),
    )


def _prediction(result: ArmResult, rates: BenchRates | None) -> Prediction | None:
    """What llama-bench's rates make of the lengths that were measured."""
    times = result.latency
    if rates is None or times.mean is None:
        return None
    if times.prompt_tokens is None or times.answer_tokens is None:
        return None
    reading = times.prompt_tokens / rates.prompt_tokens_per_s
    writing = times.answer_tokens / rates.decode_tokens_per_s
    return Prediction(
        prompt_tokens_per_s=rates.prompt_tokens_per_s,
        decode_tokens_per_s=rates.decode_tokens_per_s,
        prompt_tokens=times.prompt_tokens,
        answer_tokens=times.answer_tokens,
        predicted_s=reading + writing,
        measured_s=times.mean.mean,
    )


def _result(arm: ArmId, results: Sequence[ArmResult]) -> ArmResult | None:
    return next((result for result in results if result.arm.id == arm), None)


def primary(pairs: Sequence[PairedOutcomes], *, with_checks: bool) -> PairedOutcomes | None:
    """What base and tuned are judged by: S4 where tasks have checks, run or not; else S2."""
    wanted: tuple[RungId, ...] = ("S4", "S4t") if with_checks else ("S2",)
    return next((pair for pair in pairs if pair.rung in wanted), None)
