"""The run that is planned: its settings, its rows in tokens, and the order of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from journeyman.data.examples import read_examples
from journeyman.settings import TrainSettings
from journeyman.train.batches import OptimiserStep, plan_steps, validated_steps
from journeyman.train.fast.narrowing import AS_IT_IS, Int8Plan
from journeyman.train.plan.work import MicroBatchWork, work_of
from journeyman.train.prefixes import division
from journeyman.train.rows import Rows, SkippedRow, TokenRow

CHARACTERS_A_TOKEN = 4.45
"""Mean of the answers of a real log (238 rows, prose and code) by SmolLM2's tokenizer."""

_TURN_TOKENS = 2


@dataclass(frozen=True, kw_only=True)
class IntendedRun:
    """What `train` would do. `exact` is False where tokens were estimated from characters.

    `steps` are those that are left, one at least. narrowing: what a calibration found out about
    the products, known when the run begins.
    """

    settings: TrainSettings
    train: Rows
    val: Rows
    steps: Sequence[OptimiserStep]
    exact: bool = True
    narrowing: Int8Plan = AS_IT_IS

    @property
    def validations(self) -> int:
        """How often the validation split is looked at; a resumed run has looked at its base."""
        due = validated_steps(self.settings, self.steps) if self.val.used else ()
        done = self.steps[0].number - 1
        return sum(number >= done for number in due)

    @property
    def checkpoints(self) -> int:
        """How many are written: each `save_steps`, and the last step's."""
        return -(-len(self.steps) // self.settings.save_steps)

    def work(self, *, padded: bool) -> list[list[MicroBatchWork]]:
        """The micro-batches of each step."""
        rows = self.train.used
        return [
            [
                work_of([rows[index] for index in batch], padded=padded)
                for batch in step.micro_batches
            ]
            for step in self.steps
        ]

    def validation_work(self, *, padded: bool) -> list[MicroBatchWork]:
        """The micro-batches of one look at the validation split."""
        rows = self.val.used
        batches = division(rows, self.settings)(range(len(rows)))
        return [work_of([rows[index] for index in batch], padded=padded) for batch in batches]


def run_of(settings: TrainSettings, train: Rows, val: Rows, *, exact: bool = True) -> IntendedRun:
    """The run of resolved settings over some rows."""
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
    return IntendedRun(settings=settings, train=train, val=val, steps=steps, exact=exact)


def changed(run: IntendedRun, **changes: object) -> IntendedRun | None:
    """The run with some settings changed; None where no row would be left."""
    settings = replace(run.settings, **changes)  # type: ignore[arg-type]
    train, val = (_shorter(rows, settings.max_tokens) for rows in (run.train, run.val))
    return run_of(settings, train, val, exact=run.exact) if train.used else None


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
