"""Assign each used row to a split, together with the rows it must stay with.

Prompts of the dataset that was in the folder before keep their split (`read_earlier`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.data.dataset import LEDGER
from journeyman.errors import DataRefused, IntegrityError
from journeyman.files import LineFault, read_records
from journeyman.prepare.records import LedgerRow
from journeyman.prepare.requirements import require_every_split, require_field
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.registry import NEAR_PROMPT
from journeyman.prepare.split.group_split import (
    SPLITS,
    GroupSplit,
    Member,
    Split,
    split_groups,
    split_in_order,
    target_counts,
)
from journeyman.prepare.whole_log import join_repositories, separate_near_prompts
from journeyman.runs import read_manifest
from journeyman.settings import PrepareSettings


class SplitOutcome(Struct, frozen=True):
    """The splits, and whether nearly equal prompts are in different ones."""

    splits: GroupSplit
    separates_near: bool


class EarlierSplit(Struct, frozen=True):
    """The group and the split of each prompt of an earlier dataset; empty without one."""

    groups: dict[str, str]
    splits: dict[str, Split]

    def of_groups(self, rows: Iterable[ExaminedLine]) -> dict[str, Split]:
        """The split that most rows of each group had; train before val before test if equal."""
        rows_of: dict[str, Counter[Split]] = {}
        for row in rows:
            split = self.splits.get(row.prompt)
            if split is not None:
                rows_of.setdefault(row.group, Counter())[split] += 1
        return {
            group: max(SPLITS, key=lambda split: counts[split]) for group, counts in rows_of.items()
        }

    def moved(self, rows: Iterable[ExaminedLine]) -> int:
        """How many rows are in another split than their prompt was before."""
        return sum(row.used and self.splits.get(row.prompt, row.split) != row.split for row in rows)


def split(
    rows: Sequence[ExaminedLine], settings: PrepareSettings, earlier: EarlierSplit
) -> SplitOutcome:
    """Set each used row's `split`. Nearly equal prompts stay together unless a split gets empty.

    Raises DataRefused if a split stays empty even if only equal prompts stay together.
    """
    try:
        return SplitOutcome(_split(rows, settings, earlier), separates_near=False)
    except DataRefused:
        used = [row for row in rows if row.used]
        if not any(NEAR_PROMPT in row.rules for row in used):
            raise
        separate_near_prompts(rows)
        return SplitOutcome(_split(rows, settings, earlier), separates_near=True)


def _split(
    rows: Sequence[ExaminedLine], settings: PrepareSettings, earlier: EarlierSplit
) -> GroupSplit:
    used = [row for row in rows if row.used]
    # Conversations always stay together; to split by them, every row must name one.
    if settings.split_by == "conversation":
        require_field(used, "conversation", "context.conversation")
    if settings.split_by == "repository":
        require_field(used, "repository", "context.repository")
        join_repositories(rows)
    members = [Member(row.group, row.agent) for row in used]
    target = target_counts(len(members), settings.train_share, settings.val_share)
    prompts = len({row.prompt for row in used})
    require_every_split(target, prompts)
    if settings.split_by == "time":
        require_field(used, "logged_at_s", "timestamp")
        splits = split_in_order(members, _last_times(used), target)
    else:
        splits = split_groups(members, target, settings.seed, earlier.of_groups(used))
    require_every_split(splits.counts, prompts)
    for row in used:
        row.split = splits.of_group[row.group]
    return splits


def _last_times(rows: Sequence[ExaminedLine]) -> dict[str, float]:
    times: dict[str, float] = {}
    for row in rows:
        times[row.group] = max(row.logged_at_s or 0.0, times.get(row.group, float("-inf")))
    return times


_SPLIT_SETTINGS = ("seed", "train_share", "val_share", "split_by")


def read_earlier(settings: PrepareSettings) -> EarlierSplit:
    """The dataset in the output folder, unless it is damaged or was split in another way."""
    groups: dict[str, str] = {}
    splits: dict[str, Split] = {}
    if _has_same_split_settings(settings):
        for row in read_records(settings.output_dir / LEDGER, LedgerRow):
            if isinstance(row, LineFault):
                return EarlierSplit({}, {})
            if row.prompt and row.group and row.split:
                groups[row.prompt] = row.group
                splits[row.prompt] = row.split
    return EarlierSplit(groups, splits)


def _has_same_split_settings(settings: PrepareSettings) -> bool:
    folder: Path = settings.output_dir
    if not (folder / LEDGER).is_file():
        return False
    try:
        manifest = read_manifest(folder)
    except IntegrityError:
        return False
    if manifest is None:
        return False
    today = {name: msgspec.to_builtins(getattr(settings, name)) for name in _SPLIT_SETTINGS}
    return {name: manifest.settings.get(name) for name in _SPLIT_SETTINGS} == today
