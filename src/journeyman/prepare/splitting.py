"""Which split each used row goes to, by what it must not be parted from."""

from collections.abc import Sequence

from msgspec import Struct

from journeyman.data.splits import GroupSplit, Member, asked_counts, split_groups, split_in_order
from journeyman.errors import DataRefused
from journeyman.events import counted
from journeyman.prepare.earlier import EarlierSplit
from journeyman.prepare.judging import ExaminedLine
from journeyman.prepare.refusals import require_every_split
from journeyman.prepare.rules import NEAR_PROMPT
from journeyman.prepare.whole import keep_together, part_near
from journeyman.settings import PrepareSettings

_SHOWN = 10


class SplitOutcome(Struct, frozen=True):
    """The splits, and whether nearly equal prompts had to be parted to make them."""

    splits: GroupSplit
    parted: bool


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
