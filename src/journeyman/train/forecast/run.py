"""The run that is planned: its settings, its rows in tokens, and the order of its steps.

What micro-batches cost, in tokens and operations, before anybody computes them.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import Struct

from journeyman.data.dataset import read_examples
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import (
    LEAST_SHARED_TOKENS,
    OptimiserStep,
    division,
    plan_steps,
    shared_tokens,
    validated_steps,
)
from journeyman.train.batching.rows import Rows, SkippedRow, TokenRow
from journeyman.train.engine.recipe import Recipe
from journeyman.train.forecast.shape import ModelShape

CHARACTERS_A_TOKEN = 4.45
"""Mean of the answers of a real log (238 rows, prose and code) by SmolLM2's tokenizer."""

_TURN_TOKENS = 2


class MicroBatchWork(Struct, frozen=True):
    """One micro-batch: tokens computed (with padding), the sum of their squared lengths by row,
    tokens of the rows themselves, and tokens that give a loss."""

    computed: int
    squares: int
    real: int
    trained: int


@dataclass(frozen=True, kw_only=True)
class IntendedRun:
    """What `train` would do.

    steps: those that are left, at least one. exact: False if tokens are estimated from characters.
    """

    recipe: Recipe
    train: Rows
    val: Rows
    steps: Sequence[OptimiserStep]
    exact: bool = True

    @property
    def settings(self) -> TrainSettings:
        """The resolved settings."""
        return self.recipe.settings

    @property
    def validations(self) -> int:
        """How many validations there are; a resumed run has validated its base already."""
        due = validated_steps(self.settings, self.steps) if self.val.used else ()
        done = self.steps[0].number - 1
        return sum(number >= done for number in due)

    @property
    def checkpoints(self) -> int:
        """How many are written: each `save_steps`, and the last step's."""
        return -(-len(self.steps) // self.settings.save_steps)

    def work(self, *, padded: bool | None = None) -> list[list[MicroBatchWork]]:
        """The micro-batches of each step. padded: by default as the engine has them."""
        rows = self.train.used
        padded = self.recipe.pads_rows if padded is None else padded
        return [
            [
                work_of([rows[index] for index in batch], padded=padded)
                for batch in step.micro_batches
            ]
            for step in self.steps
        ]

    def validation_work(self) -> list[MicroBatchWork]:
        """The micro-batches of one validation."""
        rows, padded = self.val.used, self.recipe.pads_rows
        batches = division(rows, self.settings)(range(len(rows)))
        return [work_of([rows[index] for index in batch], padded=padded) for batch in batches]


def run_of(recipe: Recipe, train: Rows, val: Rows, *, exact: bool = True) -> IntendedRun:
    """The run of a recipe over some rows."""
    settings = recipe.settings
    assert settings.accumulation is not None  # resolved
    steps = plan_steps(
        [len(row.ids) for row in train.used],
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        seed=settings.seed,
        divide=division(train.used, settings),
    )
    return IntendedRun(recipe=recipe, train=train, val=val, steps=steps, exact=exact)


def changed(run: IntendedRun, **changes: object) -> IntendedRun | None:
    """The run with some settings changed; None if no row would be left."""
    settings = replace(run.settings, **changes)  # type: ignore[arg-type]
    train, val = (_shorter(rows, settings.max_tokens) for rows in (run.train, run.val))
    recipe = replace(run.recipe, settings=settings)
    return run_of(recipe, train, val, exact=run.exact) if train.used else None


def _shorter(rows: Rows, most: int) -> Rows:
    used = tuple(row for row in rows.used if len(row.ids) <= most)
    long = tuple(SkippedRow(row.id, "too long") for row in rows.used if len(row.ids) > most)
    return Rows(used, (*rows.left_out, *long))


def estimated_rows(path: Path, *, max_tokens: int) -> Rows:
    """Rows whose tokens are estimated from their characters, where there is no tokenizer."""
    used: list[TokenRow] = []
    left_out: list[SkippedRow] = []
    for number, example in enumerate(read_examples(path)):
        *asked, answer = (_estimated(message.content) for message in example.messages)
        asked += [_estimated(f"{tool.description}{tool.parameters}") for tool in example.tools]
        # An id of its own for each row: alike, they would seem to begin alike and be computed once.
        row = TokenRow(
            example.id,
            (number,) * (sum(asked) + answer),
            (False,) * sum(asked) + (True,) * answer,
        )
        if len(row.ids) > max_tokens:
            left_out.append(SkippedRow(row.id, f"about {len(row.ids)} tokens"))
        else:
            used.append(row)
    return Rows(tuple(used), tuple(left_out))


def _estimated(text: str) -> int:
    return round(len(text) / CHARACTERS_A_TOKEN) + _TURN_TOKENS


SEED_TOKENS = 2048
"""To this length the seed recipe pads every row."""


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
