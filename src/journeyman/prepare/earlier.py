"""The dataset that was in the folder before: which split each prompt had, so that it stays."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.data.splits import SPLITS, Split
from journeyman.errors import IntegrityError
from journeyman.files import LineFault, read_records
from journeyman.prepare.judging import ExaminedLine
from journeyman.prepare.records import LEDGER, LedgerRow
from journeyman.runs import read_manifest
from journeyman.settings import PrepareSettings

_SAME = ("seed", "train_share", "val_share", "split_by")


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
