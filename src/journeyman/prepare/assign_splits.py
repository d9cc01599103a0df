"""Which split each used row goes to, by what it must not be parted from.

The dataset that was in the folder before: which split each prompt had, so that it stays.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.data.dataset import LEDGER
from journeyman.errors import DataRefused, IntegrityError
from journeyman.events import counted
from journeyman.files import LineFault, read_records
from journeyman.prepare.records import LedgerRow
from journeyman.prepare.requirements import require_every_split
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.registry import NEAR_PROMPT
from journeyman.prepare.split.group_split import (
    SPLITS,
    GroupSplit,
    Member,
    Split,
    asked_counts,
    split_groups,
    split_in_order,
)
from journeyman.prepare.whole_log import keep_together, part_near
from journeyman.runs import read_manifest
from journeyman.settings import PrepareSettings

_SHOWN = 10


class SplitOutcome(Struct, frozen=True):
    """The splits, and whether nearly equal prompts had to be parted to make them."""

    splits: GroupSplit
    parted: bool


class EarlierSplit(Struct, frozen=True):
    """For each prompt of an earlier dataset its group and its split; maybe empty."""

    groups: dict[str, str]
    splits: dict[str, Split]

    def of_groups(self, rows: Iterable[ExaminedLine]) -> dict[str, Split]:
        """The split that most rows of each group had; of two with as many, the earlier named."""
        found: dict[str, Counter[Split]] = {}
        for row in rows:
            split = self.splits.get(row.prompt)
            if split is not None:
                found.setdefault(row.group, Counter())[split] += 1
        return {
            group: max(SPLITS, key=lambda split: counts[split]) for group, counts in found.items()
        }

    def moved(self, rows: Iterable[ExaminedLine]) -> int:
        """How many rows are now in another split than their prompt was."""
        return sum(row.used and self.splits.get(row.prompt, row.split) != row.split for row in rows)


def split(
    rows: Sequence[ExaminedLine], settings: PrepareSettings, earlier: EarlierSplit
) -> SplitOutcome:
    """Set each used row's `split`, by groups of nearly equal prompts where that leaves none empty.

    Raises DataRefused where a split would stay empty even with groups of equal prompts alone.
    """
    try:
        return SplitOutcome(_split(rows, settings, earlier), parted=False)
    except DataRefused:
        used = [row for row in rows if row.used]
        if not any(NEAR_PROMPT in row.rules for row in used):
            raise
        part_near(rows)
        return SplitOutcome(_split(rows, settings, earlier), parted=True)


def _split(
    rows: Sequence[ExaminedLine], settings: PrepareSettings, earlier: EarlierSplit
) -> GroupSplit:
    used = [row for row in rows if row.used]
    # Conversations stay together in any case: asked for, every row must name its own.
    if settings.split_by == "conversation":
        _require_each(used, "conversation", "context.conversation")
    if settings.split_by == "repository":
        _require_each(used, "repository", "context.repository")
        keep_together(rows)
    members = [Member(row.group, row.agent) for row in used]
    asked = asked_counts(len(members), settings.train_share, settings.val_share)
    prompts = len({row.prompt for row in used})
    require_every_split(asked, prompts)
    if settings.split_by == "time":
        _require_each(used, "logged_at_s", "timestamp")
        splits = split_in_order(members, _last_times(used), asked)
    else:
        splits = split_groups(members, asked, settings.seed, earlier.of_groups(used))
    require_every_split(splits.counts, prompts)
    for row in used:
        row.split = splits.of_group[row.group]
    return splits


def _last_times(rows: Sequence[ExaminedLine]) -> dict[str, float]:
    times: dict[str, float] = {}
    for row in rows:
        times[row.group] = max(row.logged_at_s or 0.0, times.get(row.group, float("-inf")))
    return times


def _require_each(rows: Sequence[ExaminedLine], field: str, name: str) -> None:
    """Raise DataRefused where the log does not say by what it shall be split."""
    without = [row.line for row in rows if getattr(row, field) is None]
    if without:
        listed = ", ".join(map(str, without[:_SHOWN]))
        more = f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else ""
        raise DataRefused(
            f"{counted(len(without), 'row has', 'rows have')} no `$.{name}` to split by:"
            f" {'line' if len(without) == 1 else 'lines'} {listed}{more}",
            hint="add it to the log, or split by prompts: `--split-by prompt`",
        )


_SAME = ("seed", "train_share", "val_share", "split_by")


def read_earlier(settings: PrepareSettings) -> EarlierSplit:
    """What was in the output folder, if it was split in the same way; a damaged one is nothing."""
    groups: dict[str, str] = {}
    splits: dict[str, Split] = {}
    if _was_split_alike(settings):
        for row in read_records(settings.output_dir / LEDGER, LedgerRow):
            if isinstance(row, LineFault):
                return EarlierSplit({}, {})
            if row.prompt and row.group and row.split:
                groups[row.prompt] = row.group
                splits[row.prompt] = row.split
    return EarlierSplit(groups, splits)


def _was_split_alike(settings: PrepareSettings) -> bool:
    folder: Path = settings.output_dir
    if not (folder / LEDGER).is_file():
        return False
    try:
        manifest = read_manifest(folder)
    except IntegrityError:
        return False
    if manifest is None:
        return False
    today = {name: msgspec.to_builtins(getattr(settings, name)) for name in _SAME}
    return {name: manifest.settings.get(name) for name in _SAME} == today
