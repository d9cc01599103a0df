"""All that a verdict, and what may be claimed beside it, is made from."""

from msgspec import Struct

from journeyman.evaluate.costs import Validity
from journeyman.evaluate.records import ArmResult, EvaluationPlan, Leak, PairedOutcomes, Rung, Suite


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
