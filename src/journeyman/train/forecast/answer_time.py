"""Whether the goal for one answer can be met on this machine at all, before anything is trained.

To write a token, every weight is read once: no program is faster than the memory allows. A bound,
not a forecast: what is really reached is for `evaluate` to measure.
"""

from collections.abc import Sequence
from statistics import fmean

from journeyman.train.batching.rows import TokenRow
from journeyman.train.forecast.memory_and_disk import quantised_bytes
from journeyman.train.forecast.records import AnswerTimeForecast
from journeyman.train.forecast.shape import ModelShape

GOAL_S = 12.0
QUANTIZATION = "Q4_K_M"


def serving_of(
    rows: Sequence[TokenRow],
    shape: ModelShape,
    *,
    memory_rate: float,
    product_rate: float,
    goal_s: float = GOAL_S,
) -> AnswerTimeForecast:
    """The bound for answers as long as the dataset's. Rates: bytes/s read, operations/s."""
    # Of an embedding that is not the output layer too, one row a token is read and not the table.
    parameters = shape.parameters - (0 if shape.tied else shape.head_parameters)
    model_bytes = quantised_bytes(parameters)
    tokens_per_s = memory_rate / model_bytes
    answer_tokens = fmean(row.trained_tokens for row in rows)
    prompt_tokens = fmean(len(row.ids) - row.trained_tokens for row in rows)
    prompt_s = 2.0 * parameters * prompt_tokens / product_rate
    return AnswerTimeForecast(
        quantization=QUANTIZATION,
        model_bytes=quantised_bytes(shape.parameters),
        tokens_per_s=tokens_per_s,
        prompt_s=prompt_s,
        answer_tokens=answer_tokens,
        prompt_tokens=prompt_tokens,
        answer_s=prompt_s + answer_tokens / tokens_per_s,
        goal_s=goal_s,
        fitting_tokens=max(0, int((goal_s - prompt_s) * tokens_per_s)),
    )
