"""The least time of one answer on this machine, known before anything is trained.

Every weight is read once for each token, so no program can be faster than the memory. A bound and
not a forecast: `evaluate` measures what is reached.
"""

from collections.abc import Sequence
from statistics import fmean

from journeyman.train.batching.rows import TokenRow
from journeyman.train.forecast.memory_and_disk import quantised_bytes
from journeyman.train.forecast.records import AnswerTimeForecast
from journeyman.train.forecast.shape import ModelShape

GOAL_S = 12.0
_QUANTISATION = "Q4_K_M"


def answer_time_of(
    rows: Sequence[TokenRow],
    shape: ModelShape,
    *,
    memory_rate: float,
    product_rate: float,
    goal_s: float = GOAL_S,
) -> AnswerTimeForecast:
    """The bound for answers as long as those of the rows. Rates: bytes/s read, operations/s."""
    # Of an embedding that is not the output layer as well, only one row is read for a token.
    parameters = shape.parameters - (0 if shape.tied else shape.head_parameters)
    tokens_per_s = memory_rate / quantised_bytes(parameters)
    answer_tokens = fmean(row.trained_tokens for row in rows)
    prompt_tokens = fmean(len(row.ids) - row.trained_tokens for row in rows)
    prompt_s = 2.0 * parameters * prompt_tokens / product_rate
    return AnswerTimeForecast(
        quantization=_QUANTISATION,
        model_bytes=quantised_bytes(shape.parameters),
        tokens_per_s=tokens_per_s,
        prompt_s=prompt_s,
        answer_tokens=answer_tokens,
        prompt_tokens=prompt_tokens,
        answer_s=prompt_s + answer_tokens / tokens_per_s,
        goal_s=goal_s,
        fitting_tokens=max(0, int((goal_s - prompt_s) * tokens_per_s)),
    )
