"""`group_split`: whole groups, exact counts where there are any, the same every time."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.errors import UsageError
from journeyman.prepare.split.group_split import (
    GroupSplit,
    Member,
    SplitCounts,
    split_groups,
    target_counts,
)
from journeyman.prepare.split.subset_sum import choose, choose_two

SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=7)


def members_of(sizes: list[int]) -> list[Member]:
    """Groups of these sizes, of two agents in turn."""
    agents = ("coder", "tester")
    return [
        Member(f"g{number}", agents[number % 2])
        for number, size in enumerate(sizes)
        for _ in range(size)
    ]


def reachable(sizes: list[int]) -> set[tuple[int, int]]:
    """Every (test, val) that whole groups can make, by trying all of them."""
    found = set()
    for places in itertools.product((0, 1, 2), repeat=len(sizes)):
        sums = [0, 0, 0]
        for place, size in zip(places, sizes, strict=True):
            sums[place] += size
        found.add((sums[1], sums[2]))
    return found


def test_298_rows_are_split_as_the_readme_says() -> None:
    assert target_counts(298, 0.8, 0.1) == SplitCounts(238, 29, 31)


@pytest.mark.parametrize(("train", "val"), [(0.8, 0.3), (-0.1, 0.5), (0.5, -0.1)])
def test_shares_that_are_no_shares_are_refused(train: float, val: float) -> None:
    with pytest.raises(UsageError, match="`train_share`"):
        target_counts(10, train, val)


@given(SIZES, st.integers(0, 9))
def test_counts_are_exact_wherever_whole_groups_can_make_them(sizes: list[int], seed: int) -> None:
    members = members_of(sizes)
    target = target_counts(len(members), 0.6, 0.2)
    found = split_groups(members, target, seed)
    exact = (target.test, target.val) in reachable(sizes)
    assert (found.counts == target) == exact


@given(SIZES, st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_count(sizes: list[int], seed: int, random: object) -> None:
    members = members_of(sizes)
    target = target_counts(len(members), 0.8, 0.1)
    shuffled = members[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = split_groups(shuffled, target, seed)
    assert other.of_group == split_groups(members, target, seed).of_group


@given(SIZES)
def test_every_group_is_in_one_split_and_the_counts_add_up(sizes: list[int]) -> None:
    members = members_of(sizes)
    found = split_groups(members, target_counts(len(members), 0.8, 0.1), seed=42)
    assert set(found.of_group) == {member.group for member in members}
    counts = found.counts
    assert counts.train + counts.val + counts.test == len(members)


def test_another_seed_gives_another_split() -> None:
    members = members_of([1] * 40)
    target = target_counts(40, 0.8, 0.1)
    assert split_groups(members, target, 1).of_group != split_groups(members, target, 2).of_group


def test_agents_are_shared_out_in_proportion() -> None:
    agents = ["coder"] * 60 + ["tester"] * 30 + ["reviewer"] * 10
    members = [Member(f"g{number}", agent) for number, agent in enumerate(agents)]
    found = split_groups(members, target_counts(100, 0.8, 0.1), seed=42)
    test = [member.agent for member in members if found.of_group[member.group] == "test"]
    assert sorted(test) == ["coder"] * 6 + ["reviewer"] + ["tester"] * 3


def test_counts_that_cannot_be_made_are_made_as_nearly_as_can_be() -> None:
    # 10 rows in two groups of 5: test and val cannot both hold one, and train must hold some.
    found = split_groups(members_of([5, 5]), SplitCounts(8, 1, 1), seed=42)
    assert sorted([found.counts.train, found.counts.val, found.counts.test]) == [0, 5, 5]
    assert found.counts.train == 5


def test_no_split_is_empty_if_there_are_enough_groups() -> None:
    found = split_groups(members_of([4, 4, 4]), SplitCounts(10, 1, 1), seed=42)
    assert found.counts == SplitCounts(4, 4, 4)


def test_a_thousand_groups_of_five_are_split_exactly() -> None:
    # 5,000 rows: 500 and 500 are multiples of 5, whatever the agents' quotas are.
    found = split_groups(members_of([5] * 1000), SplitCounts(4000, 500, 500), seed=42)
    assert found.counts == found.target


@settings(max_examples=50)
@given(SIZES, st.integers(0, 30))
def test_the_largest_sum_below_the_target_is_chosen(sizes: list[int], target: int) -> None:
    best = max(
        total
        for n in range(len(sizes) + 1)
        for chosen in itertools.combinations(sizes, n)
        if (total := sum(chosen)) <= target
    )
    chosen = choose(sizes, target)
    assert len(set(chosen)) == len(chosen)
    assert sum(sizes[position] for position in chosen) == best


@given(SIZES, st.integers(0, 10), st.integers(0, 10))
def test_two_choices_are_disjoint_and_exact_if_possible(
    sizes: list[int], first: int, second: int
) -> None:
    found = choose_two(sizes, first, second)
    assert found is not None
    assert not set(found[0]) & set(found[1])
    sums = tuple(sum(sizes[position] for position in side) for side in found)
    assert (sums == (first, second)) == ((first, second) in reachable(sizes))


def test_a_search_that_would_fill_the_memory_is_not_begun() -> None:
    assert choose_two([1000] * 5000, 500_001, 500_001) is None


@settings(max_examples=60)
@given(SIZES, SIZES, st.integers(0, 9))
def test_old_groups_move_only_if_the_counts_force_it(
    old: list[int], new: list[int], seed: int
) -> None:
    before = members_of(old)
    first = split_groups(before, target_counts(len(before), 0.8, 0.1), seed)
    added = [Member(f"n{member.group}", member.agent) for member in members_of(new)]
    target = target_counts(len(before) + len(added), 0.8, 0.1)
    second = split_groups([*before, *added], target, seed, first.of_group)
    changed = {name for name, split in first.of_group.items() if second.of_group[name] != split}
    assert changed == set(second.moved)
    # Where nothing could meet the counts better, nothing moves.
    assert not changed or distance(second.counts, target) < distance(unmoved(first, target), target)


def distance(got: SplitCounts, target: SplitCounts) -> tuple[int, int]:
    pairs = ((got.train, target.train), (got.val, target.val), (got.test, target.test))
    return sum(a > 0 and not g for g, a in pairs), sum(abs(g - a) for g, a in pairs)


def unmoved(first: GroupSplit, target: SplitCounts) -> SplitCounts:
    """The counts where every new row goes to train."""
    counts = first.counts
    return SplitCounts(
        target.train + target.val + target.test - counts.val - counts.test, counts.val, counts.test
    )


def test_a_row_more_moves_no_old_group() -> None:
    before = members_of([1] * 298)
    first = split_groups(before, target_counts(298, 0.8, 0.1), 42)
    # 299 rows: 239, 29, 31.
    more = [*before, Member("new", "coder")]
    second = split_groups(more, target_counts(299, 0.8, 0.1), 42, first.of_group)
    assert second.moved == ()
    assert second.counts == SplitCounts(239, 29, 31)
    # 300 rows ask for 240, 30 and 30: one row must leave the test.
    third = split_groups(
        [*more, Member("newer", "coder")], target_counts(300, 0.8, 0.1), 42, second.of_group
    )
    assert third.counts == SplitCounts(240, 30, 30)
    assert len(third.moved) == 1
