"""What an evaluation consists of: tasks, the models' answers to them, and what follows from both.

All of it is data and is written as it stands to the result file (schema `evaluation/3`).
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
    """A model that is evaluated, by which engine, from which file or base with which adapter.

    `path` is a GGUF file or an adapter folder, empty for a base in its own format. `base` names
    the base model. `sha256` stands for every weight that answers, `promised_sha256` for the file
    that was made to be shipped. `template_sha256` is over the chat template; both empty if unknown.
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
    """What one arm showed. `load_s` is not part of any latency; `recorded` items of the plan.

    `latency` is cold, `warm` of the requests that may reuse the start that prompts share.
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
    """What the log says about the system that is to be replaced, and what these figures are.

    `success` is None where only successful rows are at hand. `source` names the file.
    """

    source: str
    success: Interval | None
    mean_latency_s: float | None
    median_latency_s: float | None
    n_latency: int
    text: str


class EvaluationPlan(Struct, frozen=True):
    """What was to be measured, fixed before the first answer.

    `rows` were read, `tasks` are distinct prompts, `clusters` those that are independent.
    `prompts_sha256` is over the tasks' ids in order. `look` counts the models that were judged by
    these rows, this one included; `alpha` is the error allowed to each one-sided bound (`0.05` at
    the first look). `warm_tasks` are asked again with what prompts share already read. `suites` are
    those besides the held-out split.
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


class Leak(Struct, frozen=True):
    """Test tasks whose prompt is also in a file that was trained or validated on.

    `files` are those that were compared; none of them there means that nothing was compared.
    """

    tasks: tuple[str, ...] = ()
    of: int = 0
    files: tuple[str, ...] = ()


class Environment(Struct, frozen=True):
    """Where it was measured. `load_average` is the machine's before the first request.

    `sandbox` is the profile in which code was run (`strict`, `degraded`, or `none`: it was not),
    `self_test` what that sandbox was tried with just before.
    """

    machine: str
    versions: dict[str, str]
    load_average: float | None
    sandbox: str
    created_utc: str
    cores: int | None = None
    self_test: SelfTest | None = None


class Criterion(Struct, frozen=True):
    """One requirement, what was found, and whether the bound is on the right side of the target.

    `need` is what it would take to decide it, `action` the cheapest next step; empty on PASS.
    """

    id: str
    name: str
    target: str
    found: str
    state: State
    need: str = ""
    action: str = ""


class Verdict(Struct, frozen=True):
    """What to do, why, and what the numbers can not claim."""

    label: Label
    headline: str
    criteria: tuple[Criterion, ...]
    reasons: tuple[str, ...]
    claims: tuple[str, ...]
    next_steps: tuple[str, ...]


class Evaluation(Struct, frozen=True, kw_only=True):
    """The whole result, as it is written.

    `canaries` is what was tried on each held-out task's checks; from it follow `reference`, S4 of
    the rows' own answers, and `excluded`, the tasks that S4 does not count. `arms`, `paired`,
    `tasks` and `items` are the held-out split's; `suites` are all others, those that were not
    measured with the reason.
    """

    schema: str = SCHEMA
    verdict: Verdict
    plan: EvaluationPlan
    environment: Environment
    leak: Leak
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
        """The result of one arm, or None where it was not evaluated."""
        return next((result for result in self.arms if result.arm.id == name), None)

    def memory_of(self, arm: ArmId) -> list[ProcessMemory]:
        """What an arm's engine held after each answer, as far as it was measured."""
        items = (one.item for one in self.items)
        return [item.memory for item in items if item.arm == arm and item.memory]

    def suite(self, name: SuiteName) -> Suite | None:
        """The result of one suite besides the held-out split, or None where it has none."""
        return next((suite for suite in self.suites if suite.name == name), None)
