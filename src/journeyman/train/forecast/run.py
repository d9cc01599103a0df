"""A run before it starts: its recipe, its rows and steps, and the work of each micro-batch.

Work is counted in tokens and in operations; nothing is computed.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from journeyman.data.dataset import read_examples
from journeyman.settings import TrainSettings
from journeyman.train.batching.batches import (
    LEAST_SHARED_TOKENS,
    OptimiserStep,
    batcher_for,
    plan_steps,
    shared_tokens,
    validated_steps,
)
from journeyman.train.batching.rows import Rows, SkippedRow, TokenRow
from journeyman.train.engine.recipe import Recipe
from journeyman.train.forecast.shape import ModelShape

SEED_TOKENS = 2048
"""The length to which the seed recipe pads every row."""
# Mean over the answers of a real log (238 rows, prose and code) with SmolLM2's tokenizer.
_CHARACTERS_A_TOKEN = 4.45
# What a chat template adds to a message.
_TURN_TOKENS = 2


class MicroBatchWork(Struct, frozen=True):
    """The work of one or more micro-batches, in tokens.

    computed: with padding. squares: the sum of the squared lengths of all rows. real: the rows' own
    tokens. trained: those that give a loss.
    """

    computed: int
    squares: int
    real: int
    trained: int


@dataclass(frozen=True, kw_only=True)
class IntendedRun:
    """What `train` does, or would do.

    steps: at least one; in a forecast only those that are left. exact: False if tokens are
    estimated from characters.
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
    def rows(self) -> tuple[TokenRow, ...]:
        """The rows of the training split that are used."""
        return self.train.used

    @property
    def val_rows(self) -> tuple[TokenRow, ...]:
        """The rows of the validation split that are used."""
        return self.val.used

    @cached_property
    def validations(self) -> frozenset[int]:
        """The steps that a validation follows; 0 is the base model."""
        return validated_steps(self.settings, self.steps) if self.val_rows else frozenset()

    @property
    def validation_count(self) -> int:
        """How many validations there are; a resumed run has already validated the base model."""
        done = self.steps[0].number - 1
        return sum(number >= done for number in self.validations)

    @property
    def checkpoints(self) -> int:
        """How many checkpoints are written: every `save_steps` steps, and after the last one."""
        return -(-len(self.steps) // self.settings.save_steps)

    @property
    def rows_a_step(self) -> int:
        """How many rows a whole step has."""
        assert self.settings.accumulation is not None  # resolved
        return self.settings.batch_size * self.settings.accumulation

    def work(self, *, padded: bool | None = None) -> list[list[MicroBatchWork]]:
        """The micro-batches of each step. padded: by default as the engine computes them."""
        rows = self.rows
        padded = self.recipe.pads_rows if padded is None else padded
        return [
            [
                work_of([rows[index] for index in batch], padded=padded)
                for batch in step.micro_batches
            ]
            for step in self.steps
        ]

    def total_work(self, *, padded: bool | None = None) -> MicroBatchWork:
        """The sum of all micro-batches."""
        parts = list(itertools.chain.from_iterable(self.work(padded=padded)))
        return MicroBatchWork(
            sum(one.computed for one in parts),
            sum(one.squares for one in parts),
            sum(one.real for one in parts),
            sum(one.trained for one in parts),
        )

    def validation_work(self) -> list[MicroBatchWork]:
        """The micro-batches of one validation."""
        rows, padded = self.val_rows, self.recipe.pads_rows
        batches = batcher_for(rows, self.settings)(range(len(rows)))
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
        batcher=batcher_for(train.used, settings),
    )
    return IntendedRun(recipe=recipe, train=train, val=val, steps=steps, exact=exact)


def with_settings(run: IntendedRun, **changes: object) -> IntendedRun | None:
    """The run with some settings changed; None if no row would be left."""
    settings = replace(run.settings, **changes)  # type: ignore[arg-type]
    train, val = (_within(rows, settings.max_tokens) for rows in (run.train, run.val))
    recipe = replace(run.recipe, settings=settings)
    return run_of(recipe, train, val, exact=run.exact) if train.used else None


def _within(rows: Rows, max_tokens: int) -> Rows:
    used = tuple(row for row in rows.used if len(row.ids) <= max_tokens)
    long = tuple(SkippedRow(row.id, "too long") for row in rows.used if len(row.ids) > max_tokens)
    return Rows(used, (*rows.left_out, *long))


def estimate_rows(path: Path, *, max_tokens: int) -> Rows:
    """The rows of a split with lengths estimated from characters, for a base without tokenizer."""
    used: list[TokenRow] = []
    left_out: list[SkippedRow] = []
    for number, example in enumerate(read_examples(path)):
        *prompt, answer = (_estimate_tokens(message.content) for message in example.messages)
        prompt += [
            _estimate_tokens(f"{tool.description}{tool.parameters}") for tool in example.tools
        ]
        # Each row gets another token id, because equal prefixes would count as computed once.
        row = TokenRow(
            example.id,
            (number,) * (sum(prompt) + answer),
            (False,) * sum(prompt) + (True,) * answer,
        )
        if len(row.ids) > max_tokens:
            left_out.append(SkippedRow(row.id, f"about {len(row.ids)} tokens"))
        else:
            used.append(row)
    return Rows(tuple(used), tuple(left_out))


def _estimate_tokens(text: str) -> int:
    return round(len(text) / _CHARACTERS_A_TOKEN) + _TURN_TOKENS


def work_of(rows: Sequence[TokenRow], *, padded: bool) -> MicroBatchWork:
    """The work of one micro-batch; padded: every row is computed to the length of the longest.

    Without padding, the prefix that a row shares with the row before it is computed once.
    """
    lengths = [len(row.ids) for row in rows]
    shared = [0] * len(rows) if padded else _shared_lengths(rows)
    widths = [max(lengths)] * len(rows) if padded else lengths
    return MicroBatchWork(
        computed=sum(widths) - sum(shared),
        squares=sum(width * width for width in widths) - sum(one * one for one in shared),
        real=sum(lengths),
        trained=sum(row.trained_tokens for row in rows),
    )


def _shared_lengths(rows: Sequence[TokenRow]) -> list[int]:
    """How many tokens each row shares with the one before it, in the order of their ids."""
    ordered = sorted(row.ids for row in rows)
    shared = [shared_tokens(one, other) for one, other in itertools.pairwise(ordered)]
    return [0, *(one if one >= LEAST_SHARED_TOKENS else 0 for one in shared)]


def seed_work(rows: Iterable[TokenRow]) -> MicroBatchWork:
    """The same rows by the seed recipe: padded to 2,048 tokens, with a loss on every position."""
    lengths = [min(SEED_TOKENS, len(row.ids)) for row in rows]
    computed = SEED_TOKENS * len(lengths)
    return MicroBatchWork(computed, computed * SEED_TOKENS, sum(lengths), computed)


def layer_operations(shape: ModelShape, work: MicroBatchWork) -> float:
    """Operations of one layer with frozen weights, forward and backward.

    Matrix products: 2 for the output and 2 for its gradient, a weight and token. Attention: 2
    products of length squared over the half that a causal mask leaves, and 2.5 times that backward
    (Dao 2023, arXiv 2307.08691).
    """
    return 4.0 * shape.layer_parameters * work.computed + 7.0 * shape.attention_width * work.squares


def operations(shape: ModelShape, work: MicroBatchWork) -> float:
    """Operations of all layers and of the output layer, forward and backward.

    The output layer counts for the tokens that give a loss.
    """
    head = 4.0 * shape.head_parameters * work.trained
    return shape.layers * layer_operations(shape, work) + head
