"""What an evaluation consists of: tasks, the models' answers to them, and what follows from both.

All of it is data and is written as it stands to the result file (schema `evaluation/1`).
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from journeyman.evaluate.costs import (
    Latency,
    MemorySample,
    PlannedArm,
    Prediction,
    Targets,
    Timing,
    Validity,
)
from journeyman.records import Answer, Check, Interval, Message
from journeyman.stats import Difference

SCHEMA = "evaluation/1"

ArmId = Literal["base", "tuned"]
RungId = Literal["S0", "S1", "S2", "S4"]
State = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Label = Literal["DEPLOY", "ITERATE", "ABORT", "INVALID"]

RUNGS: Mapping[RungId, str] = {
    "S0": "served",
    "S1": "finished",
    "S2": "well-formed",
    "S4": "passes its checks",
}
"""S3 (runs) is not measured."""


class Task(Struct, frozen=True):
    """One prompt to answer. Rows with equal messages are one task.

    `id` is a hash of the messages. `cluster` is equal for prompts that ask the same, whatever the
    agent; only clusters count as independent. `messages` end before the assistant's turn, and
    `reference` is what that turn said: the row's own answer.
    """

    id: str
    cluster: str
    agent: str
    task_id: str | None
    messages: tuple[Message, ...]
    checks: tuple[Check, ...] = ()
    reference: str = ""

    @property
    def prompt(self) -> str:
        """What the user asked: the last turn."""
        return self.messages[-1].content if self.messages else ""

    @property
    def entry_point(self) -> str | None:
        """The name that its checks call, where they name one."""
        return next((check.entry_point for check in self.checks if check.entry_point), None)


class Score(Struct, frozen=True):
    """Whether an answer stands on one rung; `passed` is None where that was not measured.

    `code` is the reason as a word (`limit`, `no_code`, …), empty where it passed.
    """

    rung: RungId
    passed: bool | None
    code: str = ""
    detail: str = ""


class Item(Struct, frozen=True):
    """One arm's answer to one task, as it came, and the memory that its engine had used by then.

    `other_load` is how many processor cores other programs kept busy meanwhile.
    """

    arm: ArmId
    task: str
    answer: Answer
    peak_memory_bytes: int | None = None
    load_s: float | None = None
    other_load: float | None = None


class ScoredItem(Struct, frozen=True):
    """An item with its scores, its decode rate, and the code that was found by which rule."""

    arm: ArmId
    task: str
    answer: Answer
    scores: tuple[Score, ...]
    code: str = ""
    extract_rule: str = ""
    tokens_per_s: float | None = None
    peak_memory_bytes: int | None = None
    load_s: float | None = None
    other_load: float | None = None

    def passed(self, rung: RungId) -> bool | None:
        """Whether it stands on a rung; None where that was not measured."""
        return next((score.passed for score in self.scores if score.rung == rung), None)


class Rung(Struct, frozen=True):
    """A rung of one arm: how many of the planned tasks stand on it. `rate` None: not measured.

    `agent` is empty for all tasks together. `note` says what the number does not mean.
    """

    id: RungId
    name: str
    agent: str
    rate: Interval | None
    codes: dict[str, int] = field(default_factory=dict)
    note: str = ""


class Arm(Struct, frozen=True):
    """A model that is evaluated, by which engine, from which file or base with which adapter.

    `path` is a GGUF file or an adapter folder, empty for a base in its own format. `base` names
    the base model. `sha256` stands for every weight that answers.
    """

    id: ArmId
    name: str
    engine: Literal["llama.cpp", "torch"]
    sha256: str
    path: str = ""
    base: str = ""
    quantization: str = ""


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


class Paired(Struct, frozen=True):
    """Both arms on the same tasks: `fixed` only the tuned one passes, `broken` only the base.

    `difference` is tuned minus base with its 95 % interval (Tango), `lower` and `upper` its
    one-sided 95 % bounds; `p` is McNemar's exact two-sided p.
    """

    rung: RungId
    n: int
    both: int
    fixed: int
    broken: int
    neither: int
    difference: Difference
    lower: float
    upper: float
    p: float
    fixed_tasks: tuple[str, ...] = ()
    broken_tasks: tuple[str, ...] = ()


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


class Plan(Struct, frozen=True):
    """What was to be measured, fixed before the first answer.

    `rows` were read, `tasks` are distinct prompts, `clusters` those that are independent.
    `prompts_sha256` is over the tasks' ids in order. `look` counts the models that were judged by
    these rows, this one included; `alpha` is the error allowed to each one-sided bound (`0.05` at
    the first look). `warm_tasks` are asked again with what prompts share already read.
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
    arms: tuple[PlannedArm, ...] = ()
    warm_tasks: tuple[str, ...] = ()


class Leak(Struct, frozen=True):
    """Test tasks whose prompt is also in a file that was trained or validated on.

    `files` are those that were compared; none of them there means that nothing was compared.
    """

    tasks: tuple[str, ...] = ()
    of: int = 0
    files: tuple[str, ...] = ()


class Environment(Struct, frozen=True):
    """Where it was measured. `load_average` is the machine's before the first request."""

    machine: str
    versions: dict[str, str]
    load_average: float | None
    sandbox: str
    created_utc: str


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

    `reference` is S4 of the rows' own answers: what the checks say about the answers to learn from.
    """

    schema: str = SCHEMA
    verdict: Verdict
    plan: Plan
    environment: Environment
    leak: Leak
    arms: tuple[ArmResult, ...] = ()
    paired: tuple[Paired, ...] = ()
    baseline: Baseline | None = None
    reference: Rung | None = None
    tasks: tuple[Task, ...] = ()
    items: tuple[ScoredItem, ...] = ()
    plan_sha256: str = ""
    validity: tuple[Validity, ...] = ()
    timings: tuple[Timing, ...] = ()
    memory: tuple[MemorySample, ...] = ()

    def arm(self, name: ArmId) -> ArmResult | None:
        """The result of one arm, or None where it was not evaluated."""
        return next((result for result in self.arms if result.arm.id == name), None)
