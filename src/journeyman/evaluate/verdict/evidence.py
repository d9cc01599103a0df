"""The evidence that the verdict and its claims are made from."""

from msgspec import Struct

from journeyman.evaluate.records.evaluation import ArmResult, Contamination, EvaluationPlan
from journeyman.evaluate.records.measurements import Validity
from journeyman.evaluate.records.scores import PairedOutcomes, Rung
from journeyman.evaluate.records.suites import Suite


class VerdictEvidence(Struct, frozen=True, kw_only=True):
    """What was measured, as far as the verdict needs it.

    `success_k` of `success_n` clusters finished (S1). `primary` is the paired comparison that base
    and tuned model are judged by. `sandbox` is the profile that ran the checks, `none` if they were
    not run. `excluded` counts the tasks whose checks cannot be trusted.
    """

    plan: EvaluationPlan
    leak: Contamination
    tuned: ArmResult | None
    base: ArmResult | None
    success_k: int
    success_n: int
    primary: PairedOutcomes | None
    sandbox: str
    reference: Rung | None = None
    excluded: int = 0
    validity: tuple[Validity, ...] = ()
    suites: tuple[Suite, ...] = ()
