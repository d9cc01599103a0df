"""What micro-batches cost, in tokens and operations, before anybody computes them."""

import itertools
from collections.abc import Iterable, Sequence

from msgspec import Struct

from journeyman.settings import TrainSettings
from journeyman.train.plan.shape import ModelShape
from journeyman.train.prefixes import LEAST_SHARED_TOKENS, shared_tokens
from journeyman.train.rows import TokenRow

SEED_TOKENS = 2048
"""To this length the seed recipe pads every row."""


class MicroBatchWork(Struct, frozen=True):
    """One micro-batch: tokens computed (with padding), the sum of their squared lengths by row,
    tokens of the rows themselves, and tokens that give a loss."""

    computed: int
    squares: int
    real: int
    trained: int


def is_padded(settings: TrainSettings) -> bool:
    """Whether the engine of resolved settings computes every row to the longest of its batch."""
    return settings.engine != "fast"


def work_of(rows: Sequence[TokenRow], *, padded: bool) -> MicroBatchWork:
    """The work of one micro-batch; a padded one computes every row to the longest.

    Without padding, what a row shares with its neighbour by ids is computed once.
    """
    lengths = [len(row.ids) for row in rows]
    shared = [0] * len(rows) if padded else _shared(rows)
    widths = [max(lengths)] * len(rows) if padded else lengths
    return MicroBatchWork(
        computed=sum(widths) - sum(shared),
        squares=sum(width * width for width in widths) - sum(one * one for one in shared),
        real=sum(lengths),
        trained=sum(row.trained_tokens for row in rows),
    )


def _shared(rows: Sequence[TokenRow]) -> list[int]:
    """What each row but the first has in common with the one before, in the order of their ids."""
    ordered = sorted(row.ids for row in rows)
    found = [shared_tokens(one, other) for one, other in itertools.pairwise(ordered)]
    return [0, *(one if one >= LEAST_SHARED_TOKENS else 0 for one in found)]


def seed_work(rows: Iterable[TokenRow]) -> MicroBatchWork:
    """The same rows by the seed recipe: padded to 2,048 tokens, a loss on every position."""
    lengths = [min(SEED_TOKENS, len(row.ids)) for row in rows]
    computed = SEED_TOKENS * len(lengths)
    return MicroBatchWork(computed, computed * SEED_TOKENS, sum(lengths), computed)


def total_work(parts: Iterable[MicroBatchWork]) -> MicroBatchWork:
    """The sum of some micro-batches."""
    found = list(parts)
    return MicroBatchWork(
        sum(one.computed for one in found),
        sum(one.squares for one in found),
        sum(one.real for one in found),
        sum(one.trained for one in found),
    )


def layer_operations(shape: ModelShape, work: MicroBatchWork) -> float:
    """Forward and backward of one layer whose weights are frozen.

    Products: 2 for the output and 2 for its gradient a weight and token. Attention: 2 products of
    length squared over the half that a causal mask leaves, and 2.5 times that backward (Dao 2023,
    arXiv 2307.08691).
    """
    return 4.0 * shape.layer_parameters * work.computed + 7.0 * shape.attention_width * work.squares


def head_operations(shape: ModelShape, work: MicroBatchWork) -> float:
    """Forward and backward of the output layer, for the tokens that give a loss."""
    return 4.0 * shape.head_parameters * work.trained


def operations(shape: ModelShape, work: MicroBatchWork) -> float:
    """All layers and the output layer."""
    return shape.layers * layer_operations(shape, work) + head_operations(shape, work)
