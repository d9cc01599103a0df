"""Whole groups of rows to train, val and test, in exactly the asked counts where groups allow it.

Promise: no group stands in two splits (asserted), and the same rows and seed give the same split,
in whatever order they come. Roles are shared out in proportion as far as groups allow.
Not covered: keeping old rows in their split when new ones come.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from journeyman.data.subset_sum import choose, choose_two
from journeyman.errors import UsageError
from journeyman.files import content_id

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Counts(Struct, frozen=True):
    """Rows in each split."""

    train: int
    val: int
    test: int


class Member(Struct, frozen=True):
    """A row as the split sees it."""

    group: str
    agent: str


class Splits(Struct, frozen=True):
    """Where each group went, how many rows that makes, and how many were asked for."""

    of_group: dict[str, Split]
    counts: Counts
    asked: Counts


class _Group(Struct, frozen=True):
    id: str
    size: int
    agent: str


def asked_counts(rows: int, train_share: float, val_share: float) -> Counts:
    """`int(n * share)` rows for train and val, the rest for test. 298 at 0.8 and 0.1: 238, 29, 31.

    Raises UsageError for shares below 0, or that leave less than nothing for test.
    """
    if min(train_share, val_share) < 0 or train_share + val_share > 1 + 1e-9:
        raise UsageError(
            f"`train_share` {train_share} and `val_share` {val_share} are not two shares of one",
            hint="give both from 0 to 1, together at most 1, as in 0.8 and 0.1",
        )
    train = min(rows, int(rows * train_share))
    val = min(rows - train, int(rows * val_share))
    return Counts(train, val, rows - train - val)


def split_groups(members: Sequence[Member], asked: Counts, seed: int) -> Splits:
    """Assign every group to one split. `asked` must add up to the number of members."""
    groups = _in_seeded_order(members, seed)
    test, val = _by_role(groups, asked)
    if (_size(test), _size(val)) != (asked.test, asked.val):
        found = choose_two([group.size for group in groups], asked.test, asked.val)
        if found:
            test, val = ([groups[position] for position in side] for side in found)
    of_group: dict[str, Split] = {group.id: "train" for group in groups}
    of_group |= dict.fromkeys((group.id for group in val), "val")
    of_group |= dict.fromkeys((group.id for group in test), "test")
    assert not {group.id for group in val} & {group.id for group in test}
    rows = Counter(of_group[member.group] for member in members)
    return Splits(of_group, Counts(rows["train"], rows["val"], rows["test"]), asked)


def _in_seeded_order(members: Sequence[Member], seed: int) -> list[_Group]:
    """The groups by a hash of the seed and their id: no order of input or of a set counts."""
    agents: dict[str, Counter[str]] = {}
    for member in members:
        agents.setdefault(member.group, Counter())[member.agent] += 1
    groups = [
        _Group(name, found.total(), min(found, key=lambda agent: (-found[agent], agent)))
        for name, found in agents.items()
    ]
    return sorted(groups, key=lambda group: (content_id(str(seed), group.id), group.id))


def _by_role(groups: list[_Group], asked: Counts) -> tuple[list[_Group], list[_Group]]:
    """Groups for test and for val: each role's part first, then what is missing from any role."""
    rows = Counter[str]()
    for group in groups:
        rows[group.agent] += group.size
    left = groups
    sides = []
    for wanted in (asked.test, asked.val):
        chosen: list[_Group] = []
        for agent, quota in _apportioned(rows, wanted).items():
            chosen += _chosen([group for group in left if group.agent == agent], quota)
        left = _without(left, chosen)
        filling = _chosen(left, wanted - _size(chosen))
        left = _without(left, filling)
        sides.append(chosen + filling)
    return sides[0], sides[1]


def _apportioned(rows: Counter[str], wanted: int) -> dict[str, int]:
    """`wanted` seats shared out by size, largest remainders first. (Hamilton's method.)"""
    total = max(1, rows.total())
    quotas = {agent: rows[agent] * wanted // total for agent in sorted(rows)}
    by_remainder = sorted(quotas, key=lambda agent: (-(rows[agent] * wanted % total), agent))
    for agent in by_remainder[: wanted - sum(quotas.values())]:
        quotas[agent] += 1
    return quotas


def _chosen(groups: list[_Group], rows: int) -> list[_Group]:
    return [groups[position] for position in choose([group.size for group in groups], rows)]


def _without(groups: list[_Group], taken: list[_Group]) -> list[_Group]:
    names = {group.id for group in taken}
    return [group for group in groups if group.id not in names]


def _size(groups: list[_Group]) -> int:
    return sum(group.size for group in groups)
