"""From scored items to rates, latencies and pairs. The denominator is always the plan's."""

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
"""From this difference on, how an answer is read changes what it seems to be worth."""
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
    """What one arm showed on the planned tasks. alpha: error of the latency's one-sided bounds."""
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
    return dict(Counter(item.extract_rule for item in scored if item.extract_rule))


def rungs(
    tasks: Sequence[EvaluationTask], scored: Sequence[ScoredItem], ids: Sequence[RungId] = LADDER
) -> tuple[Rung, ...]:
    """Every rung that some task has, over its tasks, and by agent where there are several."""
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
        item = by_task.get(task.id)
        score = next((s for s in item.scores if s.rung == rung), None) if item else None
        passed += bool(score and score.passed)
        strictly += bool(score and score.passed and item and item.strict)
        unmeasured += score is not None and score.passed is None
        if score is None or not score.passed:
            codes[score.code if score else NOT_RECORDED] += 1
    return Rung(
        id=rung,
        name=RUNGS[rung],
        agent=agent,
        rate=None if unmeasured else wilson(passed, len(planned)),
        codes=dict(codes.most_common()),
        note=_mutants(scored, planned) if rung == "S4t" else _note(rung, planned),
        strict=wilson(strictly, len(planned)) if _reads_code(rung, planned, unmeasured) else None,
    )


def strictly_less(rung: Rung) -> bool:
    """Whether a strict reader finds noticeably less on a rung."""
    if rung.rate is None or rung.strict is None:
        return False
    return rung.rate.share - rung.strict.share > STRICT_SHARE


def _reads_code(rung: RungId, tasks: Sequence[EvaluationTask], unmeasured: int) -> bool:
    """Whether a rung was measured and every task on it is judged by the code in its answer."""
    return rung in CODE_RUNGS and not unmeasured and not any(task.rule for task in tasks)


def _note(rung: RungId, tasks: Sequence[EvaluationTask]) -> str:
    weak = sum(task.agent not in CODE_AGENTS for task in tasks)
    if rung != "S2" or not weak:
        return ""
    return FORM_ONLY if weak == len(tasks) else f"{weak} of {len(tasks)}: {FORM_ONLY}"


def _mutants(scored: Sequence[ScoredItem], tasks: Sequence[EvaluationTask]) -> str:
    """How many mutants the tests found that tell right from wrong; the others found none."""
    ids = {task.id for task in tasks}
    scores = [score for one in scored if one.item.task in ids for score in one.scores]
    judged = [one for one in scores if one.rung == "S4t" and one.of]
    if not judged:
        return ""
    found, of = sum(one.found for one in judged), sum(one.of for one in judged)
    return f"these {len(judged)} found {found} of {of} mutants"


def paired(
    rung: RungId,
    tasks: Sequence[EvaluationTask],
    scored: Sequence[ScoredItem],
    *,
    alpha: float = ALPHA,
) -> PairedOutcomes | None:
    """Both arms on one rung, cluster by cluster; None where that rung was not measured for both.

    A cluster passes where all its tasks do: repeats of a prompt are one piece of evidence. alpha:
    error of each one-sided bound.
    """
    both = {
        arm: _by_cluster(rung, tasks, [one for one in scored if one.item.arm == arm])
        for arm in ("base", "tuned")
    }
    base, tuned = both["base"], both["tuned"]
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
    """Cluster -> passed, over the planned tasks that have this rung; empty where not measured."""
    by_task = {one.item.task: one.passed(rung) for one in scored}
    planned = [task for task in tasks if counts(rung, task)]
    if not scored or any(by_task.get(task.id, False) is None for task in planned):
        return {}
    found: dict[str, bool] = {}
    for task in planned:
        found[task.cluster] = found.get(task.cluster, True) and bool(by_task.get(task.id))
    return found


def clusters_passing(
    rung: RungId, tasks: Sequence[EvaluationTask], scored: Sequence[ScoredItem]
) -> tuple[int, int]:
    """(k, n) of one arm's clusters on a rung; n = 0 where it was not measured."""
    found = _by_cluster(rung, tasks, scored)
    return sum(found.values()), len(found)
