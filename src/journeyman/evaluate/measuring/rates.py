"""From scored answers to rates and paired comparisons. The denominator is always the plan's."""

from collections import Counter
from collections.abc import Sequence

from journeyman.evaluate.measuring.latency import latency
from journeyman.evaluate.records.evaluation import Arm, ArmResult
from journeyman.evaluate.records.scores import (
    CODE_AGENTS,
    RUNGS,
    EvaluationTask,
    PairedOutcomes,
    Rung,
    RungId,
    ScoredItem,
    counts,
)
from journeyman.evaluate.scoring.well_formed import FORM_ONLY
from journeyman.stats import ALPHA, mcnemar_exact, tango_interval, wilson

NOT_RECORDED = "not_recorded"

STRICT_SHARE = 0.02
"""If strict reading costs more than this share, the rate depends on how answers are read."""
CODE_RUNGS: tuple[RungId, ...] = ("S3", "S4", "S4t")
LADDER: tuple[RungId, ...] = ("S0", "S1", "S2", "S3", "S4", "S4t")


def arm_result(
    arm: Arm,
    tasks: Sequence[EvaluationTask],
    scored: Sequence[ScoredItem],
    seed: int,
    *,
    alpha: float = ALPHA,
    cores: int | None = None,
) -> ArmResult:
    """What one model showed on the planned tasks. alpha: error of the latency's bounds."""
    items = [one.item for one in scored]
    memory = [item.peak_memory_bytes for item in items if item.peak_memory_bytes is not None]
    loads = [item.load_s for item in items if item.load_s is not None]
    return ArmResult(
        arm=arm,
        recorded=len(scored),
        rungs=rungs(tasks, scored),
        latency=latency(tasks, items, seed, alpha=alpha, cores=cores),
        peak_memory_bytes=max(memory, default=None),
        load_s=max(loads, default=None),
        extract_rules=extract_rules(scored),
    )


def extract_rules(scored: Sequence[ScoredItem]) -> dict[str, int]:
    """How many answers each rule of the extractor was needed for."""
    return dict(Counter(one.extract_rule for one in scored if one.extract_rule))


def rungs(
    tasks: Sequence[EvaluationTask], scored: Sequence[ScoredItem], ids: Sequence[RungId] = LADDER
) -> tuple[Rung, ...]:
    """Every rung that applies to some task, over its tasks, and by agent if there are several."""
    found = []
    for rung in ids:
        planned = [task for task in tasks if counts(rung, task)]
        agents = sorted({task.agent for task in planned})
        if planned:
            found.append(_rung(rung, planned, scored))
        if len(agents) > 1:
            found += [_rung(rung, planned, scored, agent) for agent in agents]
    return tuple(found)


def _rung(
    rung: RungId, tasks: Sequence[EvaluationTask], scored: Sequence[ScoredItem], agent: str = ""
) -> Rung:
    planned = [task for task in tasks if agent in ("", task.agent)]
    by_task = {one.item.task: one for one in scored}
    codes: Counter[str] = Counter()
    passed = strictly = unmeasured = 0
    for task in planned:
        one = by_task.get(task.id)
        score = next((s for s in one.scores if s.rung == rung), None) if one else None
        passed += bool(score and score.passed)
        strictly += bool(score and score.passed and one and one.strict)
        unmeasured += score is not None and score.passed is None
        if score is None or not score.passed:
            codes[score.code if score else NOT_RECORDED] += 1
    return Rung(
        id=rung,
        name=RUNGS[rung],
        agent=agent,
        rate=None if unmeasured else wilson(passed, len(planned)),
        codes=dict(codes.most_common()),
        note=_mutants_note(scored, planned) if rung == "S4t" else _form_note(rung, planned),
        strict=wilson(strictly, len(planned)) if _needs_code(rung, planned, unmeasured) else None,
    )


def strict_is_lower(rung: Rung) -> bool:
    """Whether strict reading finds noticeably fewer passing answers on a rung."""
    if rung.rate is None or rung.strict is None:
        return False
    return rung.rate.share - rung.strict.share > STRICT_SHARE


def _needs_code(rung: RungId, tasks: Sequence[EvaluationTask], unmeasured: int) -> bool:
    """Whether a rung was measured, and by the code of the answer for every task."""
    return rung in CODE_RUNGS and not unmeasured and not any(task.rule for task in tasks)


def _form_note(rung: RungId, tasks: Sequence[EvaluationTask]) -> str:
    form_only = sum(task.agent not in CODE_AGENTS for task in tasks)
    if rung != "S2" or not form_only:
        return ""
    return FORM_ONLY if form_only == len(tasks) else f"{form_only} of {len(tasks)}: {FORM_ONLY}"


def _mutants_note(scored: Sequence[ScoredItem], tasks: Sequence[EvaluationTask]) -> str:
    """How many mutants the passing tests found; tests that failed were not tried on any."""
    ids = {task.id for task in tasks}
    scores = [score for one in scored if one.item.task in ids for score in one.scores]
    tried = [score for score in scores if score.rung == "S4t" and score.of]
    if not tried:
        return ""
    found, of = sum(one.found for one in tried), sum(one.of for one in tried)
    return f"these {len(tried)} found {found} of {of} mutants"


def paired_comparison(
    rung: RungId,
    tasks: Sequence[EvaluationTask],
    scored: Sequence[ScoredItem],
    *,
    alpha: float = ALPHA,
) -> PairedOutcomes | None:
    """Both models on one rung, cluster by cluster; None if it was not measured for both.

    A cluster passes if all its tasks pass: repeats of a prompt are one piece of evidence. alpha:
    error of each one-sided bound.
    """
    base, tuned = (
        _by_cluster(rung, tasks, [one for one in scored if one.item.arm == arm])
        for arm in ("base", "tuned")
    )
    if not base or not tuned:
        return None
    fixed = tuple(c for c, passed in tuned.items() if passed and not base[c])
    broken = tuple(c for c, passed in tuned.items() if not passed and base[c])
    passing = sum(passed and base[c] for c, passed in tuned.items())
    n = len(tuned)
    one_sided = tango_interval(len(fixed), len(broken), n, confidence=1 - 2 * alpha)
    members = {c: [t.id for t in tasks if t.cluster == c] for c in (*fixed, *broken)}
    return PairedOutcomes(
        rung=rung,
        n=n,
        both=passing,
        fixed=len(fixed),
        broken=len(broken),
        neither=n - passing - len(fixed) - len(broken),
        difference=tango_interval(len(fixed), len(broken), n),
        lower=one_sided.low,
        upper=one_sided.high,
        p=mcnemar_exact(len(fixed), len(broken)),
        fixed_tasks=tuple(task for c in fixed for task in members[c]),
        broken_tasks=tuple(task for c in broken for task in members[c]),
    )


def _by_cluster(
    rung: RungId, tasks: Sequence[EvaluationTask], scored: Sequence[ScoredItem]
) -> dict[str, bool]:
    """Cluster -> passed, over the planned tasks that have this rung; empty if not measured."""
    by_task = {one.item.task: one.passed(rung) for one in scored}
    planned = [task for task in tasks if counts(rung, task)]
    if not scored or any(by_task.get(task.id, False) is None for task in planned):
        return {}
    passed: dict[str, bool] = {}
    for task in planned:
        passed[task.cluster] = passed.get(task.cluster, True) and bool(by_task.get(task.id))
    return passed


def clusters_passing(
    rung: RungId, tasks: Sequence[EvaluationTask], scored: Sequence[ScoredItem]
) -> tuple[int, int]:
    """(k, n) of one model's clusters on a rung; n = 0 if it was not measured."""
    passed = _by_cluster(rung, tasks, scored)
    return sum(passed.values()), len(passed)
