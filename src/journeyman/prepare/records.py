"""What the stage leaves behind: the ledger's rows, metadata.json, and the record it returns.

docs/data-format.md describes the files for users.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct

from journeyman.data.splits import Counts, Split
from journeyman.events import Caution, Table

Action = Literal["kept", "masked", "dropped", "quarantined"]

TRAIN, VAL, TEST = "train.jsonl", "val.jsonl", "test.jsonl"
METADATA, LEDGER = "metadata.json", "ledger.jsonl"


class LedgerRow(Struct, frozen=True):
    """What became of one line of the log, and why.

    `masked` rows are trained without their end of turn. `reason` is set for quarantined lines,
    which could not be read or rendered. `split` and `group` are None for rows that are not used.
    """

    line: int
    id: str | None
    action: Action
    rules: tuple[str, ...]
    split: Split | None
    group: str | None
    reason: str = ""


class Totals(Struct, frozen=True):
    """Lines of the log by what became of them; together they are all of its lines."""

    kept: int
    masked: int
    dropped: int
    quarantined: int


class Groups(Struct, frozen=True):
    """Rows with the same prompt: how many prompts, how many of them stand in several rows.

    `repeated_rows` are the rows of those, `contradicting` the prompts with different answers.
    """

    count: int
    repeated: int
    repeated_rows: int
    contradicting: int


class Baseline(Struct, frozen=True):
    """How the logged system did: k of n calls succeeded; latency over the successes that took time.

    A duration of 0 or none is no measurement and is left out: `latency_n` says how many remain.
    """

    k: int
    n: int
    latency_n: int
    mean_latency_s: float | None
    median_latency_s: float | None


class Source(Struct, frozen=True):
    """The log as it was read."""

    path: str
    sha256: str
    lines: int


class Metadata(Struct, frozen=True):
    """metadata.json. `training_examples` are the rows of all three splits together.

    `findings`, `sources` and `producers` count rows: findings in the log, the others in the splits.
    """

    total_interactions: int
    successful_interactions: int
    training_examples: int
    splits: Counts
    agent_distribution: dict[str, int]
    random_seed: int
    policy: str
    prompts: str
    base: str
    template_sha256: str
    template_origin: str
    totals: Totals
    findings: dict[str, int]
    groups: Groups
    sources: dict[str, int]
    producers: dict[str, int]
    baseline: Baseline
    input: Source


class Prepared(Struct, frozen=True):
    """The dataset that was written, and what there is to say about it (all of it was reported)."""

    folder: Path
    metadata: Metadata
    findings: Table
    cautions: tuple[Caution, ...]
