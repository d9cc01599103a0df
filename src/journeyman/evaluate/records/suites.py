"""Records of the suites besides the held-out split: rates, likelihood, quantisation."""

from typing import Literal

from msgspec import Struct, field

from journeyman.evaluate.records.scores import (
    ArmId,
    EvaluationTask,
    PairedOutcomes,
    Rung,
    Score,
    ScoredItem,
)
from journeyman.stats import Mean

SuiteName = Literal["held-out", "humaneval", "probes", "likelihood", "quantisation"]


class SuitePlan(Struct, frozen=True):
    """A suite that the plan names; `n` tasks with their hash, 0 for a suite without tasks."""

    name: SuiteName
    n: int = 0
    prompts_sha256: str = ""


class ExcludedTask(Struct, frozen=True):
    """A task that S4 leaves out because its check failed a trial; `canary` names the trial."""

    task: str
    canary: str
    detail: str = ""


class CheckTrust(Struct, frozen=True):
    """Whether one task's checks tell right from wrong code; `failed` names the first failed trial.

    `own` is the score of the reference answer. The checks refused `refused` of `mutants` small
    wrong versions of that answer; both are 0 if an earlier trial failed.
    """

    task: str
    own: Score
    failed: str = ""
    detail: str = ""
    mutants: int = 0
    refused: int = 0


class SuiteArm(Struct, frozen=True):
    """What one model showed on a suite's tasks. `recorded` counts its answers."""

    arm: ArmId
    recorded: int
    rungs: tuple[Rung, ...]
    extract_rules: dict[str, int] = field(default_factory=dict)


class RowLikelihood(Struct, frozen=True):
    """Mean nats per token of one reference answer under each model; less is more likely."""

    task: str
    cluster: str
    tokens: int
    base: float
    tuned: float


class Likelihood(Struct, frozen=True):
    """Log-likelihood of the reference answers under the base and the tuned model, in nats.

    Means are over rows, their intervals over clusters of equal prompts. `difference` is tuned minus
    base, so below zero is a gain. `method` says which engine gave the probabilities.
    """

    method: str
    tokens_limit: int
    base: Mean
    tuned: Mean
    difference: Mean
    rows: tuple[RowLikelihood, ...]


class QuantisationDivergence(Struct, frozen=True):
    """What quantisation changed: F16 against the shipped file on the same text, token by token.

    KL is in nats, `*_error` a standard error, `same_top` the share (0..1) of tokens whose most
    likely successor stays the same. `state` is WARN above `limit_kl` or below `limit_same_top`.
    `lines` are the lines of llama-perplexity's report from which these figures come.
    """

    f16: str
    f16_sha256: str
    quantised: str
    quantization: str
    text: str
    tokens: int
    mean_kl: float
    mean_kl_error: float
    p99_kl: float
    max_kl: float
    same_top: float
    same_top_error: float
    perplexity_f16: float
    perplexity: float
    limit_kl: float
    limit_same_top: float
    state: Literal["OK", "WARN"]
    lines: tuple[str, ...] = ()


class Suite(Struct, frozen=True, kw_only=True):
    """One suite besides the held-out split, measured or not.

    `not_measured` is the reason, empty if it was measured. `n` tasks (rows, for the likelihood)
    were planned and `clusters` of them are independent. A suite that asks the models has `arms`,
    `paired`, `tasks` and `items`, and `canaries` if it runs code; the others have `likelihood` or
    `divergence`.
    """

    name: SuiteName
    title: str
    n: int = 0
    clusters: int = 0
    not_measured: str = ""
    note: str = ""
    arms: tuple[SuiteArm, ...] = ()
    paired: tuple[PairedOutcomes, ...] = ()
    excluded: tuple[ExcludedTask, ...] = ()
    canaries: tuple[CheckTrust, ...] = ()
    likelihood: Likelihood | None = None
    divergence: QuantisationDivergence | None = None
    tasks: tuple[EvaluationTask, ...] = ()
    items: tuple[ScoredItem, ...] = ()
