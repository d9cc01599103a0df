"""Times, a prediction, the targets to reach, and the gates that a valid result passes."""

from msgspec import Struct

from journeyman.evaluate.records.scores import Item
from journeyman.stats import Mean


class Targets(Struct, frozen=True):
    """What a tuned model must reach; shares 0..1. A gain proven to be below `useful_gain` fails.

    `margin` is how much worse than the base model it may be. Up to `small_n` pairs it is
    `small_margin`, because so few pairs with changes in both directions cannot prove more.
    """

    success: float = 0.98
    latency_s: float = 12.0
    latency_stretch_s: float = 10.0
    memory_bytes: int = 10 * 2**30
    margin: float = 0.05
    small_margin: float = 0.10
    small_n: int = 60
    useful_gain: float = 0.05


class ModelPlan(Struct, frozen=True):
    """A model as the plan fixes it. `command` starts its server, empty for torch."""

    id: str
    engine: str
    sha256: str
    quantization: str = ""
    command: tuple[str, ...] = ()


class Latency(Struct, frozen=True):
    """Seconds from the request to the last token by the client's clock, over the answers that came.

    `answered` of `planned` answers have a latency; an error has none and counts as a failed task.
    `first_token_s` (TTFT) and `tokens_per_s` (after the first token) are means. `other_load` is how
    many of the `cores` other programs kept busy meanwhile. `overhead_share` of the latency is
    outside the server's own clock. `repeat_spread` is the median over tasks of (longest - shortest)
    / mean of their repeats.
    """

    planned: int
    answered: int
    mean: Mean | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    max_s: float | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None
    answer_tokens: float | None = None
    prompt_tokens: float | None = None
    other_load: float | None = None
    cores: int | None = None
    overhead_share: float | None = None
    repeat_spread: float | None = None


class Timing(Struct, frozen=True):
    """One timed request of the warm workload. `block` counts the server's starts, from 0."""

    block: int
    item: Item


class Prediction(Struct, frozen=True):
    """The time of a mean answer by llama-bench, whose clock leaves out HTTP and tokenisation.

    The lengths are the means of the measured answers.
    """

    prompt_tokens_per_s: float
    decode_tokens_per_s: float
    prompt_tokens: float
    answer_tokens: float
    predicted_s: float
    measured_s: float


class Validity(Struct, frozen=True):
    """A gate: if it fails, the numbers must not be used. `ok` is None if it cannot be known.

    `text` says what was found, `action` what to do about it (empty if it holds).
    """

    id: str
    ok: bool | None
    text: str
    action: str = ""
