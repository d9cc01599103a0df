"""Rows that a chain of shared keys connects are one group, in any order."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from journeyman.prepare.split.union_find import joined


def test_a_chain_of_shared_keys_is_one_group() -> None:
    found = joined([("p1", "~a"), ("p2", "~a"), ("p2", "~b"), ("p3",), ("p4", "~b")])
    assert found == ["p1", "p1", "p1", "p3", "p1"]


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3), max_size=6))
def test_groups_do_not_depend_on_the_order_of_rows(keys: list[list[str]]) -> None:
    whole = dict(zip(map(tuple, keys), joined(keys), strict=True))
    for order in itertools.islice(itertools.permutations(keys), 20):
        assert dict(zip(map(tuple, order), joined(order), strict=True)) == whole
