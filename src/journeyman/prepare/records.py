"""What the stage writes: the rows of the ledger, and metadata.json with the report inside.

The page and the summary in the terminal are made from `Report` alone. docs/data-format.md and
docs/doctor.md describe the files for users.
"""

from pathlib import Path

from msgspec import Struct

from journeyman.events import Caution
from journeyman.prepare.rules.rule import Action, Level
from journeyman.prepare.split.group_split import Split, SplitCounts


class LedgerRow(Struct, frozen=True):
    """What became of one line of the log, and why.

    `masked` rows are trained without their end of turn. `rules` are all that matched; `reason` is
    the one that decided, or why a quarantined line could not be read or rendered. `redacted` is the
    number of secrets that were redacted. `prompt` is equal for rows with exactly the same prompt.
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
    """Lines of the log by what became of them; the first four add up to all lines.

    `redacted` rows are among the kept and the masked ones.
    """

    kept: int
    masked: int
    dropped: int
    quarantined: int
    redacted: int = 0


class PromptGroupCounts(Struct, frozen=True):
    """How many prompts there are, and how many of them several rows have.

    `repeated_rows` are the rows of those; `contradicting` are the prompts with different answers.
    """

    count: int
    repeated: int
    repeated_rows: int
    contradicting: int


class LoggedBaseline(Struct, frozen=True):
    """How the logged system did: k of n calls succeeded; latency of the successful calls.

    A missing duration, or one of 0, is not a measurement; `latency_n` is the number of the others.
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
    """`rows` lines of the log ended as `action`; `reason` is the rule that decided, or empty.

    All flows together contain every line of the log once.
    """

    action: Action
    reason: str
    rows: int


class RuleExample(Struct, frozen=True):
    """One example of a rule. `detail` says what the rule found in it.

    `before` is an excerpt of the log with secrets redacted; `after` is the same place in the
    dataset, empty if the row is not in it. Both are text from outside: escape them.
    """

    line: int
    id: str
    detail: str
    before: str
    after: str = ""


class RuleReport(Struct, frozen=True):
    """One rule: how many lines it matched and what became of them.

    `does` is what the policy does about it: `drop`, `mask`, `keep`, `redact` or `fail`.
    count = kept + masked + dropped + quarantined; `redacted` rows are among the kept and masked
    ones. `ids` are those of the first rows that matched (the ledger has all of them).
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
    """How long one producer's answers are, and what that shows about a limit.

    `counts[i]` answers have a length from `start + i * width` to before `start + (i + 1) * width`
    in `unit` (`tokens`, `characters`). `cap` is the logged or found limit in that unit, else None;
    `cut_off` of `answers` ran into it. `vocabulary` names the tokenizer, `evidence` is one sentence
    for a reader.
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
    """Lines with equal or nearly equal prompts, as an example. `prompts` are excerpts."""

    group: str
    lines: tuple[int, ...]
    answers: int
    producers: int
    prompts: tuple[str, ...]


class Duplicates(Struct, frozen=True):
    """Groups of equal or nearly equal prompts among all readable rows.

    `exact_groups` have several rows with equal prompts, `near_groups` contain different ones.
    `rows` are in any of them; without the `surplus`, one of each equal prompt is left.
    `mixed_producers` groups have answers of several producers. `repeated_answers` are answers that
    three or more different prompts got. `all_pairs` is False if MinHash proposed the near pairs.
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
    """One agent role: its rows in each split, and those that are left out."""

    agent: str
    train: int
    val: int
    test: int
    left_out: int


class SplitReport(Struct, frozen=True):
    """One split: its rows, groups of prompts, masked rows, and the length of its answers."""

    name: Split
    rows: int
    groups: int
    masked: int
    redacted: int
    median_characters: int | None
    longest_characters: int | None
    over_long: int


class ProducerReport(Struct, frozen=True):
    """Who answered, and what the model's terms say about training on its answers.

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
    """One check of the written files. `ok` is None if it was not done."""

    what: str
    ok: bool | None
    detail: str


class Report(Struct, frozen=True):
    """All findings in one log, and what became of every line.

    `rules` has every rule, errors first, also those that matched nothing. `roles`, `splits` and
    `checks` are empty if no dataset was made (`journeyman doctor`). `usable` rows are complete,
    `permitted` rows come from a model whose terms permit training, `both` rows are both. `settings`
    are ready to show. `unknown` says in sentences what was not checked, and how to have it checked.
    `command` makes the same dataset again, quoted for a shell; empty without a dataset.
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

    `findings` counts rows of the log; `sources` and `producers` count rows of the splits.
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
    report: Report


class PreparedDataset(Struct, frozen=True):
    """The dataset that was written, with its warnings (which were reported)."""

    folder: Path
    metadata: Metadata
    cautions: tuple[Caution, ...]
