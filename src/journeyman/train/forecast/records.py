"""A forecast as plain data, as `journeyman plan --json` writes it. Units are in the names."""

from typing import Literal

from msgspec import Struct

Level = Literal["stop", "warning", "advice"]


class Finding(Struct, frozen=True):
    """A mistake that shows before the run, or advice. `stop`: this machine cannot do the run."""

    id: str
    level: Level
    text: str
    hint: str = ""


class Tokens(Struct, frozen=True):
    """What the run computes in all epochs.

    exact: False if tokens are estimated. real: the rows' own tokens. computed: with padding.
    trained: those that give a loss. operation_share: operations over those of the seed recipe for
    the same rows and epochs.
    """

    rows: int
    val_rows: int
    left_out: int
    exact: bool
    longest: int
    real: int
    computed: int
    trained: int
    trained_an_epoch: int
    real_share: float
    seed_computed: int
    seed_real_share: float
    operation_share: float


class Steps(Struct, frozen=True):
    """How many optimiser steps there are, and how many warm up, checkpoints and validations."""

    steps: int
    rows_a_step: int
    warmup: int
    checkpoints: int
    validations: int


class TimeForecast(Struct, frozen=True):
    """The time of a run in seconds: the total with its range, and its parts.

    start_s: to load the base model. end_s: to write the result.
    """

    total_s: float
    low_s: float
    high_s: float
    start_s: float
    steps_s: float
    validation_s: float
    checkpoints_s: float
    end_s: float
    first_step_s: float
    real_tokens_per_s: float


class Machine(Struct, frozen=True):
    """What the probe measured: products in operations/s, memory read in bytes/s, disk in bytes/s.

    limit_tokens_per_s: the throughput in real tokens if only products took time; None: not known.
    """

    threads: int
    product_rate: float
    memory_rate: float
    disk_rate: float
    probe_s: float
    slowdown: float
    limit_tokens_per_s: float | None = None


class MemoryForecast(Struct, frozen=True):
    """Peak memory of the run and its parts, and the memory that this process can have."""

    program_bytes: int
    weights_bytes: int
    adapter_bytes: int
    activation_bytes: int
    workspace_bytes: int
    peak_bytes: int
    available_bytes: int
    limit_bytes: int
    limited_by: str


class DiskForecast(Struct, frozen=True):
    """What the run and `convert` write, and the free space there."""

    checkpoints_bytes: int
    final_bytes: int
    merged_bytes: int
    gguf_bytes: int
    download_bytes: int
    free_bytes: int

    @property
    def training_bytes(self) -> int:
        """What `train` writes."""
        return self.checkpoints_bytes + self.final_bytes + self.download_bytes


class AnswerTimeForecast(Struct, frozen=True):
    """The least time of one answer on this machine, because every weight must be read.

    answer_tokens, prompt_tokens: means of the dataset. fitting_tokens: the mean length of answers
    that would meet the goal.
    """

    quantization: str
    model_bytes: int
    tokens_per_s: float
    prompt_s: float
    answer_tokens: float
    prompt_tokens: float
    answer_s: float
    goal_s: float
    fitting_tokens: int

    @property
    def can_be_met(self) -> bool:
        """Whether the goal is within reach; `evaluate` measures whether it is met."""
        return self.answer_s < self.goal_s


class Alternative(Struct, frozen=True):
    """A cheaper run: the flags to change, what they mean, and its time in seconds."""

    flags: str
    what: str
    total_s: float


class Forecast(Struct, frozen=True):
    """The whole forecast. What was not measured is None."""

    base: str
    parameters: int
    adapter_parameters: int
    engine: str
    precision: str
    tokens: Tokens
    steps: Steps
    memory: MemoryForecast
    disk: DiskForecast
    findings: tuple[Finding, ...]
    machine: Machine | None = None
    hours: TimeForecast | None = None
    serving: AnswerTimeForecast | None = None
    alternatives: tuple[Alternative, ...] = ()

    @property
    def can_run(self) -> bool:
        """Whether no finding stops the run."""
        return all(finding.level != "stop" for finding in self.findings)
