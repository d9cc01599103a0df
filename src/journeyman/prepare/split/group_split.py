"""Assign whole groups of rows to train, val and test, in exactly the target counts if possible.

Promise: no group is in two splits (asserted), and the same rows and seed give the same split, in
any order. Roles are distributed in proportion as far as groups allow. A group that had a split
keeps it unless the counts cannot be met: then few groups move, and those are reported.
Not covered: the smallest possible number of moves; groups are freed in ones, twos, fours, ...
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.files import content_id
from journeyman.prepare.split.subset_sum import choose, choose_two

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

_EXACT_ROWS = 4096
_EXACT_GROUPS = 20_000


class SplitCounts(Struct, frozen=True):
    """Rows in each split."""

    train: int
    val: int
    test: int


class Member(Struct, frozen=True):
    """A row as the split sees it."""

    group: str
    agent: str


class GroupSplit(Struct, frozen=True):
    """The split of each group, the rows that each split has, and the target.

    `moved`: groups that had another split before.
    """

    of_group: dict[str, Split]
    counts: SplitCounts
    target: SplitCounts
    moved: tuple[str, ...] = ()


class _SplitGroup(Struct, frozen=True):
    id: str
    size: int
    agent: str


def target_counts(rows: int, train_share: float, val_share: float) -> SplitCounts:
    """`int(n * share)` rows for train and val, the rest for test. 298 at 0.8 and 0.1: 238, 29, 31.

    Raises UsageError if a share is below 0, or both together are above 1.
    """
    if min(train_share, val_share) < 0 or train_share + val_share > 1 + 1e-9:
        raise UsageError(
            f"`train_share` {train_share} and `val_share` {val_share} are not two parts of 1",
            hint="give two numbers from 0 to 1, together at most 1, such as 0.8 and 0.1",
        )
    train = min(rows, int(rows * train_share))
    val = min(rows - train, int(rows * val_share))
    return SplitCounts(train, val, rows - train - val)


def split_groups(
    members: Sequence[Member],
    target: SplitCounts,
    seed: int,
    earlier: Mapping[str, Split] = MappingProxyType({}),
) -> GroupSplit:
    """Assign every group to one split. `target` must add up to the number of members.

    earlier: the split that a group had before; it keeps it unless the counts force it to move.
    """
    groups = _in_seeded_order(members, seed)
    best: GroupSplit | None = None
    for held in _held(groups, earlier, target):
        found = _splits(groups, held, target, earlier)
        if best is None or _distance(found) < _distance(best):
            best = found
        if best.counts == target:
            break
    assert best is not None
    return best


def split_in_order(
    members: Sequence[Member], order: Mapping[str, float], target: SplitCounts
) -> GroupSplit:
    """The last groups for test, those before them for val, the first for train.

    order: a position for each group, such as the time of its last row. A border is where the count
    is nearest to the target; with three or more groups, val and test get at least one each.
    """
    sizes = Counter(member.group for member in members)
    left = sorted(sizes, key=lambda group: (order[group], group))
    of_group: dict[str, Split] = {}
    for split, wanted, reserved in (("test", target.test, 2), ("val", target.val, 1)):
        taken = 0
        while len(left) > reserved and (
            not taken or abs(taken + sizes[left[-1]] - wanted) < abs(taken - wanted)
        ):
            group = left.pop()
            of_group[group] = "test" if split == "test" else "val"
            taken += sizes[group]
    of_group |= dict.fromkeys(left, "train")
    return GroupSplit(of_group, _counts(of_group, sizes), target)


def _held(
    groups: Sequence["_SplitGroup"], earlier: Mapping[str, Split], target: SplitCounts
) -> Iterator[Mapping[str, Split]]:
    """The groups that may keep their split: all of them, then fewer and fewer, at last none."""
    known = [group for group in groups if group.id in earlier]
    rows = Counter[Split]()
    for group in known:
        rows[earlier[group.id]] += group.size
    over = {
        split: rows[split] > wanted
        for split, wanted in zip(SPLITS, (target.train, target.val, target.test), strict=True)
    }
    # Small groups of a split that has too many rows move first.
    freed = sorted(known, key=lambda group: (not over[earlier[group.id]], group.size))
    yield {group.id: earlier[group.id] for group in freed}
    count = 1
    while count < len(freed):
        yield {group.id: earlier[group.id] for group in freed[count:]}
        count *= 2
    if freed:
        yield {}


def _splits(
    groups: Sequence["_SplitGroup"],
    held: Mapping[str, Split],
    target: SplitCounts,
    earlier: Mapping[str, Split],
) -> GroupSplit:
    free = [group for group in groups if group.id not in held]
    kept = [group for group in groups if group.id in held]
    needed = {
        split: max(0, wanted - sum(group.size for group in kept if held[group.id] == split))
        for split, wanted in (("test", target.test), ("val", target.val))
    }
    test, val = _by_role(free, kept, held, target, needed)
    best = _placed(groups, held, target, earlier, (test, val))
    if best.counts == target:
        return best
    found = choose_two([group.size for group in free], needed["test"], needed["val"])
    if found:
        test, val = ([free[position] for position in side] for side in found)
        other = _placed(groups, held, target, earlier, (test, val))
        # If no group has to stay, the closest choice has been made already.
        if not held or _distance(other) < _distance(best):
            best = other
    return best


def _placed(
    groups: Sequence["_SplitGroup"],
    held: Mapping[str, Split],
    target: SplitCounts,
    earlier: Mapping[str, Split],
    sides: tuple[Sequence["_SplitGroup"], Sequence["_SplitGroup"]],
) -> GroupSplit:
    """The split if these groups go to test and val, and the others stay or go to train."""
    test, val = sides
    of_group: dict[str, Split] = {group.id: held.get(group.id, "train") for group in groups}
    of_group |= dict.fromkeys((group.id for group in val), "val")
    of_group |= dict.fromkeys((group.id for group in test), "test")
    assert not {group.id for group in val} & {group.id for group in test}
    counts = _counts(of_group, {group.id: group.size for group in groups})
    moved = [name for name, split in of_group.items() if earlier.get(name, split) != split]
    return GroupSplit(of_group, counts, target, tuple(sorted(moved)))


def _counts(of_group: Mapping[str, Split], sizes: Mapping[str, int]) -> SplitCounts:
    rows = Counter[Split]()
    for name, split in of_group.items():
        rows[split] += sizes[name]
    return SplitCounts(rows["train"], rows["val"], rows["test"])


def _distance(splits: GroupSplit) -> tuple[int, int]:
    """How far the counts are from the targets: splits without a row first, then rows."""
    got, target = splits.counts, splits.target
    pairs = ((got.train, target.train), (got.val, target.val), (got.test, target.test))
    missing = sum(wanted > 0 and not have for have, wanted in pairs)
    return missing, sum(abs(have - wanted) for have, wanted in pairs)


def _in_seeded_order(members: Sequence[Member], seed: int) -> list[_SplitGroup]:
    """The groups by a hash of seed and id, so that the order of the input does not matter."""
    sizes = Counter(member.group for member in members)
    agents: dict[str, str] = {}
    # Most groups are one row; only the others are counted.
    shared: dict[str, Counter[str]] = {}
    for member in members:
        if sizes[member.group] > 1:
            shared.setdefault(member.group, Counter())[member.agent] += 1
        agents[member.group] = member.agent
    agents |= {
        name: min(found, key=lambda agent: (-found[agent], agent)) for name, found in shared.items()
    }
    groups = [_SplitGroup(name, size, agents[name]) for name, size in sizes.items()]
    return sorted(groups, key=lambda group: (content_id(str(seed), group.id), group.id))


def _by_role(
    free: list[_SplitGroup],
    kept: Sequence[_SplitGroup],
    held: Mapping[str, Split],
    target: SplitCounts,
    needed: Mapping[str, int],
) -> tuple[list[_SplitGroup], list[_SplitGroup]]:
    """Groups for test and for val: first each role's share, then any role for what is missing."""
    rows = Counter[str]()
    for group in (*free, *kept):
        rows[group.agent] += group.size
    left = free
    sides = []
    for split, wanted in (("test", target.test), ("val", target.val)):
        has = Counter[str]()
        for group in kept:
            has[group.agent] += group.size if held[group.id] == split else 0
        chosen: list[_SplitGroup] = []
        for agent, share in _apportioned(rows, wanted).items():
            quota = min(share - has[agent], needed[split] - _size(chosen))
            if quota > 0:
                chosen += _chosen([group for group in left if group.agent == agent], quota)
        left = _without(left, chosen)
        filling = _chosen(left, needed[split] - _size(chosen))
        left = _without(left, filling)
        sides.append(chosen + filling)
    return sides[0], sides[1]


def _apportioned(rows: Counter[str], wanted: int) -> dict[str, int]:
    """`wanted` rows distributed by size, largest remainders first. (Hamilton's method.)"""
    total = max(1, rows.total())
    quotas = {agent: rows[agent] * wanted // total for agent in sorted(rows)}
    by_remainder = sorted(quotas, key=lambda agent: (-(rows[agent] * wanted % total), agent))
    for agent in by_remainder[: wanted - sum(quotas.values())]:
        quotas[agent] += 1
    return quotas


def _chosen(groups: list[_SplitGroup], rows: int) -> list[_SplitGroup]:
    """Groups of this many rows, as nearly as possible; earlier groups are preferred."""
    taken: list[_SplitGroup] = []
    rest: list[_SplitGroup] = []
    # Exact sums need a bit for every row and group; of many rows, the first groups are taken.
    for group in groups:
        if rows > _EXACT_ROWS and group.size <= rows:
            taken.append(group)
            rows -= group.size
        elif len(rest) < _EXACT_GROUPS:
            rest.append(group)
    return taken + [rest[position] for position in choose([one.size for one in rest], rows)]


def _without(groups: list[_SplitGroup], taken: list[_SplitGroup]) -> list[_SplitGroup]:
    names = {group.id for group in taken}
    return [group for group in groups if group.id not in names]


def _size(groups: list[_SplitGroup]) -> int:
    return sum(group.size for group in groups)
