"""A plan in plain data, as `journeyman plan --json` writes it. Units stand in the names."""

from typing import Literal

from msgspec import Struct

Level = Literal["stop", "warning", "advice"]


class Finding(Struct, frozen=True):
    """A mistake that can be seen before the run, or advice. `stop`: the run cannot be done here."""

    id: str
    level: Level
    text: str
    hint: str = ""


class Tokens(Struct, frozen=True):
    """What the run computes, in all epochs. `exact` is False where tokens were estimated.

    `real` are the rows' own tokens, `computed` counts padding too, `trained` give the loss.
    `operation_share` is 0..1 of what the seed recipe would take for the same rows and epochs.
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
    """The optimiser's steps and what is due among them."""

    steps: int
    rows_a_step: int
    warmup: int
    checkpoints: int
    validations: int


class TimeForecast(Struct, frozen=True):
    """The time of a run, in seconds: all of it with a range, and its parts.

    `start_s` is loading the base, `end_s` writing the result.
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
    """What the probe found: products in operations/s, memory read in bytes/s, disk in bytes/s.

    limit_tokens_per_s: real tokens a second at the measured rate of products; None: not known.
    """

    threads: int
    product_rate: float
    memory_rate: float
    disk_rate: float
    probe_s: float
    slowdown: float
    limit_tokens_per_s: float | None = None


class MemoryForecast(Struct, frozen=True):
    """Peak memory of the run by what needs it, and what this process can have."""

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
    """What is written beside the data, and the space where it goes."""

    checkpoints_bytes: int
    final_bytes: int
    merged_bytes: int
    gguf_bytes: int
    download_bytes: int
    free_bytes: int

    @property
    def training_bytes(self) -> int:
        """What `train` alone needs."""
        return self.checkpoints_bytes + self.final_bytes + self.download_bytes


class AnswerTimeForecast(Struct, frozen=True):
    """The best that one answer can take here: no program can read the weights faster.

    `answer_tokens` and `prompt_tokens` are means of the dataset. `fitting_tokens` is the mean
    length of answers that would meet the goal.
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
        """Whether the goal is not out of reach; to meet it is for `evaluate` to measure."""
        return self.answer_s < self.goal_s


class Alternative(Struct, frozen=True):
    """A cheaper run: what to change, what it costs in quality, and its time in seconds."""

    flags: str
    what: str
    total_s: float


class Forecast(Struct, frozen=True):
    """All of it. What was not measured is None."""

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
        """Whether nothing was found that stops the run."""
        return all(finding.level != "stop" for finding in self.findings)
