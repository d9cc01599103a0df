"""The result of an evaluation: models, plan, measurements, verdict. The result file holds it whole.

Fields keep the names that the file has: `leak` is contamination, `look` a use of the test set,
`canaries` what was tried on the checks.
"""

from typing import Literal

from msgspec import Struct

from journeyman.evaluate.records.measurements import (
    Latency,
    ModelPlan,
    Prediction,
    Targets,
    Timing,
    Validity,
)
from journeyman.evaluate.records.scores import (
    ArmId,
    EvaluationTask,
    PairedOutcomes,
    Rung,
    ScoredItem,
)
from journeyman.evaluate.records.suites import CheckTrust, ExcludedTask, Suite, SuiteName, SuitePlan
from journeyman.machine.process_memory import ProcessMemory
from journeyman.records import Interval
from journeyman.sandbox.selftest import SelfTest
from journeyman.stats import Mean

SCHEMA = "evaluation/3"

State = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Label = Literal["DEPLOY", "ITERATE", "ABORT", "INVALID"]


class Arm(Struct, frozen=True):
    """A model under test: which engine answers for it, from which file or adapter.

    `path` is a GGUF file or an adapter folder, empty for a base in its own format. `base` names
    the base model. `sha256` covers every weight that answers, `promised_sha256` the file that is to
    ship. `template_sha256` is over the chat template. Both are empty if unknown.
    """

    id: ArmId
    name: str
    engine: Literal["llama.cpp", "torch"]
    sha256: str
    path: str = ""
    base: str = ""
    quantization: str = ""
    promised_sha256: str = ""
    template_sha256: str = ""


class ArmResult(Struct, frozen=True):
    """What one model showed on the held-out tasks. `recorded` counts its answers.

    `latency` is cold; `warm` is that of requests that may reuse the start that prompts share.
    `load_s` is not part of either.
    """

    arm: Arm
    recorded: int
    rungs: tuple[Rung, ...]
    latency: Latency
    peak_memory_bytes: int | None
    load_s: float | None
    extract_rules: dict[str, int]
    warm: Latency | None = None
    prediction: Prediction | None = None


class Baseline(Struct, frozen=True):
    """What the log says about the system to replace; `text` explains these figures.

    `success` is None if only successful rows are known. `source` names the file.
    """

    source: str
    success: Interval | None
    mean_latency_s: float | None
    median_latency_s: float | None
    n_latency: int
    text: str


class EvaluationPlan(Struct, frozen=True):
    """What will be measured, fixed before the first answer.

    `rows` were read, `tasks` are distinct prompts, `clusters` those that are independent.
    `prompts_sha256` is over the tasks' ids in order. `look` counts the uses of these test rows,
    this one included; `alpha` is the error allowed to each one-sided bound (0.05 at the first).
    `warm_tasks` are asked again after the start that prompts share was read. `suites` are those
    besides the held-out split.
    """

    test_data: str
    test_sha256: str
    rows: int
    tasks: int
    clusters: int
    tasks_with_checks: int
    max_tokens: int
    threads: int | None
    seed: int
    limit: int | None
    decoding: str = "greedy"
    prompts_sha256: str = ""
    look: int = 1
    alpha: float = 0.05
    targets: Targets = Targets()
    arms: tuple[ModelPlan, ...] = ()
    warm_tasks: tuple[str, ...] = ()
    suites: tuple[SuitePlan, ...] = ()


class Contamination(Struct, frozen=True):
    """Test tasks whose prompt is also in the training or validation set.

    `files` are those that were compared, none if there was nothing to compare.
    """

    tasks: tuple[str, ...] = ()
    of: int = 0
    files: tuple[str, ...] = ()


class Environment(Struct, frozen=True):
    """The machine and versions. `load_average` is the machine's before the first request.

    `sandbox` is the profile that ran the code (`strict`, `degraded`, or `none`: code was not run),
    `self_test` the attacks that were tried on that sandbox just before.
    """

    machine: str
    versions: dict[str, str]
    load_average: float | None
    sandbox: str
    created_utc: str
    cores: int | None = None
    self_test: SelfTest | None = None


class Criterion(Struct, frozen=True):
    """One requirement, its result, and whether the bound is on the right side of the target.

    `need` is what it would take to decide it, `action` the cheapest next step; both empty on PASS.
    """

    id: str
    name: str
    target: str
    found: str
    state: State
    need: str = ""
    action: str = ""


class Verdict(Struct, frozen=True):
    """What to do, why, and what the numbers cannot claim."""

    label: Label
    headline: str
    criteria: tuple[Criterion, ...]
    reasons: tuple[str, ...]
    claims: tuple[str, ...]
    next_steps: tuple[str, ...]


class Evaluation(Struct, frozen=True, kw_only=True):
    """The whole result, as it is written.

    `canaries` holds what was tried on each held-out task's checks. `reference`, S4 of the reference
    answers, and `excluded`, the tasks that S4 does not count, follow from it. `arms`, `paired`,
    `tasks` and `items` belong to the held-out split. `suites` are all others; those that were not
    measured hold the reason.
    """

    schema: str = SCHEMA
    verdict: Verdict
    plan: EvaluationPlan
    environment: Environment
    leak: Contamination
    arms: tuple[ArmResult, ...] = ()
    paired: tuple[PairedOutcomes, ...] = ()
    baseline: Baseline | None = None
    reference: Rung | None = None
    excluded: tuple[ExcludedTask, ...] = ()
    canaries: tuple[CheckTrust, ...] = ()
    tasks: tuple[EvaluationTask, ...] = ()
    items: tuple[ScoredItem, ...] = ()
    plan_sha256: str = ""
    validity: tuple[Validity, ...] = ()
    timings: tuple[Timing, ...] = ()
    latency_difference: Mean | None = None
    suites: tuple[Suite, ...] = ()

    def arm(self, name: ArmId) -> ArmResult | None:
        """The result of one model, or None if it was not evaluated."""
        return next((result for result in self.arms if result.arm.id == name), None)

    def memory_of(self, arm: ArmId) -> list[ProcessMemory]:
        """The memory of one model's engine after each answer, as far as it was measured."""
        items = (one.item for one in self.items)
        return [item.memory for item in items if item.arm == arm and item.memory]

    def suite(self, name: SuiteName) -> Suite | None:
        """The result of one suite besides the held-out split, or None if there is none."""
        return next((suite for suite in self.suites if suite.name == name), None)
