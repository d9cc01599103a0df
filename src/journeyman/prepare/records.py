"""What the stage leaves behind: the ledger's rows, metadata.json with the report inside it.

`Report` is what the doctor found and what became of it; the page and the summary in the terminal
are made from it alone. docs/data-format.md and docs/doctor.md describe the files for users.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct

from journeyman.events import Caution, Table
from journeyman.prepare.split.group_split import Split, SplitCounts

Action = Literal["kept", "masked", "dropped", "quarantined"]

Level = Literal["error", "warning", "note"]
"""An `error` should not be trained; a `note` is a habit of the set, not a fault of a row."""


class LedgerRow(Struct, frozen=True):
    """What became of one line of the log, and why.

    `masked` rows are trained without their end of turn. `rules` are all that matched; `reason`
    says which of them decided, or why a quarantined line could not be read or rendered. `redacted`
    is how many secrets were taken out of it. `prompt` is equal for rows that ask exactly the same,
    `split` and `group` are None for rows that are not used.
    """

    line: int
    id: str | None
    action: Action
    rules: tuple[str, ...]
    split: Split | None
    group: str | None
    reason: str = ""
    redacted: int = 0
    prompt: str | None = None


class Totals(Struct, frozen=True):
    """Lines of the log by what became of them; the first four are together all of its lines.

    `redacted` rows are among the kept and the masked.
    """

    kept: int
    masked: int
    dropped: int
    quarantined: int
    redacted: int = 0


class PromptGroupCounts(Struct, frozen=True):
    """Rows with the same prompt: how many prompts, how many of them stand in several rows.

    `repeated_rows` are the rows of those, `contradicting` the prompts with different answers.
    """

    count: int
    repeated: int
    repeated_rows: int
    contradicting: int


class LoggedBaseline(Struct, frozen=True):
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


class Flow(Struct, frozen=True):
    """So many lines of the log ended as `action`; `reason` is the rule that decided, or empty.

    All flows together are all lines of the log, each counted once.
    """

    action: Action
    reason: str
    rows: int


class RuleExample(Struct, frozen=True):
    """One example of a rule. `detail` says what was seen in it.

    `before` is an excerpt of the log with secrets already hidden; `after` is the same place in the
    dataset, empty where the row is not in it. Both are text from outside: escape them.
    """

    line: int
    id: str
    detail: str
    before: str
    after: str = ""


class RuleReport(Struct, frozen=True):
    """One rule: how many lines it matched and what became of those.

    `does` is what the policy does with it: `drop`, `mask`, `keep`, `redact` or `fail`.
    count = kept + masked + dropped + quarantined; `redacted` ones are among the kept and masked.
    `ids` are the first matching rows' ids (the ledger has all of them).
    """

    id: str
    level: Level
    meaning: str
    does: str
    count: int
    kept: int
    masked: int
    dropped: int
    quarantined: int
    redacted: int
    ids: tuple[str, ...]
    examples: tuple[RuleExample, ...]


class Lengths(Struct, frozen=True):
    """How long one producer's answers are, and what that says about a cap.

    `counts[i]` answers have a length from `start + i * width` to before `start + (i + 1) * width`
    in `unit` (`tokens`, `characters`). `cap` is the noted or found cap in that unit, else None;
    `cut_off` of `answers` ran into it. `vocabulary` is whose tokens were counted, `evidence` one
    sentence for a reader.
    """

    producer: str
    unit: str
    start: int
    width: int
    counts: tuple[int, ...]
    answers: int
    cap: int | None
    cut_off: int
    vocabulary: str
    evidence: str


class DuplicateGroup(Struct, frozen=True):
    """Lines that ask the same or nearly the same, as an example. `prompts`: their excerpts."""

    group: str
    lines: tuple[int, ...]
    answers: int
    producers: int
    prompts: tuple[str, ...]


class Duplicates(Struct, frozen=True):
    """Groups of equal or nearly equal prompts among all rows that were read.

    `exact_groups` have more than one row with equal prompts, `near_groups` join different ones.
    `rows` stand in any of them, `surplus` is what remains when one of each is left.
    `mixed_producers` groups have answers of several producers. `repeated_answers` are answers that
    three or more different prompts got. `all_pairs` is False where MinHash proposed the near pairs.
    """

    exact_groups: int
    near_groups: int
    rows: int
    surplus: int
    contradicting: int
    mixed_producers: int
    repeated_answers: int
    all_pairs: bool
    examples: tuple[DuplicateGroup, ...]


class RoleReport(Struct, frozen=True):
    """One agent role: rows in each split, and rows of the log that are in none."""

    agent: str
    train: int
    val: int
    test: int
    left_out: int


class SplitReport(Struct, frozen=True):
    """One split: rows, groups of prompts, masked rows, and the length of its answers."""

    name: Split
    rows: int
    groups: int
    masked: int
    redacted: int
    median_characters: int | None
    longest_characters: int | None
    over_long: int


class ProducerReport(Struct, frozen=True):
    """Who answered, and what its maker's terms say about training on that (flagged, not judged).

    `verdict` is `forbids`, `conditions`, `permits` or `unknown`; `used` rows are in the splits.
    """

    producer: str
    rows: int
    used: int
    verdict: str
    models: str
    says: str
    source: str


class FileCheck(Struct, frozen=True):
    """One thing that was checked on the files that were written. `ok` is None: not checked."""

    what: str
    ok: bool | None
    detail: str


class Report(Struct, frozen=True):
    """All that the doctor found in one log, and what became of every line of it.

    `rules` holds every rule, also those that matched nothing, errors first. `roles`, `splits` and
    `checks` are empty where no dataset was made (`journeyman doctor`). `usable` are rows that are
    whole, `permitted` rows whose maker permits training, `both` rows that are both. `settings` are
    ready to show. `unknown` says in sentences what was not looked at, and how to have it looked at.
    `command` makes the same again, quoted for a shell; empty where it is not known.
    `noted_cap` is the `max_tokens` that most of the cut-off answers were logged with.
    """

    source: Source
    policy: str
    totals: Totals
    flows: tuple[Flow, ...]
    rules: tuple[RuleReport, ...]
    lengths: tuple[Lengths, ...]
    duplicates: Duplicates
    roles: tuple[RoleReport, ...]
    splits: tuple[SplitReport, ...]
    producers: tuple[ProducerReport, ...]
    usable: int
    permitted: int
    both: int
    baseline: LoggedBaseline
    checks: tuple[FileCheck, ...]
    settings: dict[str, str]
    unknown: tuple[str, ...]
    command: str = ""
    noted_cap: int | None = None


class Metadata(Struct, frozen=True):
    """metadata.json. `training_examples` are the rows of all three splits together.

    `findings`, `sources` and `producers` count rows: findings in the log, the others in the splits.
    """

    total_interactions: int
    successful_interactions: int
    training_examples: int
    splits: SplitCounts
    agent_distribution: dict[str, int]
    random_seed: int
    policy: str
    prompts: str
    base: str
    template_sha256: str
    template_origin: str
    totals: Totals
    findings: dict[str, int]
    groups: PromptGroupCounts
    sources: dict[str, int]
    producers: dict[str, int]
    baseline: LoggedBaseline
    input: Source
    report: Report | None = None


class PreparedDataset(Struct, frozen=True):
    """The dataset that was written, and what there is to say about it (all of it was reported)."""

    folder: Path
    metadata: Metadata
    findings: Table
    cautions: tuple[Caution, ...]
