"""Sequence packing: every row sees exactly its own tokens, and a shared prefix is packed once."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman.train.batching.batches import LEAST_SHARED_TOKENS, by_prefix, shared_tokens
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.fast.packing import Pack, pack

PREFIX = tuple(range(1000, 1040))


def _row(name: str, ids: tuple[int, ...], *, trained: int) -> TokenRow:
    """A row whose last `trained` tokens are trained."""
    untrained = len(ids) - trained
    return TokenRow(name, ids, (False,) * untrained + (True,) * trained)


def _paths(packed: Pack) -> list[tuple[tuple[int, ...], ...]]:
    """For each target: the tokens that its place sees, as (position, id) pairs, and the target."""
    seen = []
    for place, target in zip(packed.places.tolist(), packed.targets.tolist(), strict=True):
        visible = [
            (int(packed.positions[at]), int(packed.ids[at]))
            for span in packed.spans
            if span.start <= place < span.reach
            for at in range(span.start, min(span.end, place + 1))
        ]
        seen.append((*sorted(visible), (target,)))
    return sorted(seen)


def _expected(rows: list[TokenRow]) -> list[tuple[tuple[int, ...], ...]]:
    return sorted(
        (*enumerate(row.ids[:at]), (row.ids[at],))
        for row in rows
        for at in range(1, len(row.ids))
        if row.trained[at]
    )


def test_a_common_prefix_is_packed_once() -> None:
    rows = [_row(str(n), (*PREFIX, n, n + 1, n + 2), trained=2) for n in range(4)]
    packed = pack(rows)
    # 40 shared, and of each row's three tokens the last is only ever a target.
    assert packed.computed_tokens == 40 + 4 * 2
    assert packed.real_tokens == 4 * 43
    assert _paths(packed) == _expected(rows)


def test_rows_without_a_common_prefix_share_nothing() -> None:
    rows = [_row("a", (1, 2, 3), trained=1), _row("b", (4, 5, 6), trained=1)]
    packed = pack(rows)
    assert [(span.start, span.end, span.reach) for span in packed.spans] == [(0, 2, 2), (2, 4, 4)]
    assert packed.positions.tolist() == [0, 1, 0, 1]


def test_a_short_common_prefix_is_computed_twice() -> None:
    short = PREFIX[: LEAST_SHARED_TOKENS - 1]
    rows = [_row(str(n), (*short, n, n), trained=1) for n in range(2)]
    assert pack(rows).computed_tokens == 2 * (len(short) + 1)


def test_tokens_after_the_last_trained_one_are_left_out() -> None:
    row = TokenRow("cut off", (1, 2, 3, 4, 5), (False, False, True, False, False))
    packed = pack([row])
    assert packed.ids.tolist() == [1, 2]
    assert (packed.places.tolist(), packed.targets.tolist()) == ([1], [3])


def test_equal_rows_are_computed_once_and_each_counts() -> None:
    rows = [_row(str(n), (*PREFIX, 1, 2), trained=2) for n in range(3)]
    packed = pack(rows)
    assert packed.computed_tokens == 41
    assert len(packed.targets) == 6


def test_a_row_that_is_a_prefix_of_another_shares_all_its_tokens() -> None:
    rows = [_row("short", PREFIX, trained=5), _row("long", (*PREFIX, *PREFIX), trained=5)]
    packed = pack(rows)
    assert packed.computed_tokens == 79
    assert _paths(packed) == _expected(rows)


def test_the_order_of_the_rows_makes_no_difference() -> None:
    rows = [_row(str(n), (*PREFIX, n % 3, n, n), trained=2) for n in range(7)]
    turned = random.Random(1).sample(rows, len(rows))
    assert _paths(pack(rows)) == _paths(pack(turned))
    assert pack(rows).ids.tolist() == pack(turned).ids.tolist()


# Two ids only, so that long common prefixes and equal rows are common.
_ROWS = st.lists(
    st.lists(st.integers(0, 1), min_size=2, max_size=12).flatmap(
        lambda ids: st.integers(1, len(ids) - 1).map(lambda n: (tuple(ids), n))
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(_ROWS, st.integers(1, 4))
def test_every_trained_token_sees_its_own_row_and_nothing_else(
    drawn: list[tuple[tuple[int, ...], int]], least: int
) -> None:
    rows = [_row(str(at), ids, trained=trained) for at, (ids, trained) in enumerate(drawn)]
    packed = pack(rows, least_shared_tokens=least)
    assert _paths(packed) == _expected(rows)
    assert packed.computed_tokens <= packed.real_tokens - len(rows)


def test_shared_tokens_end_at_the_first_difference_or_the_shorter_row() -> None:
    assert shared_tokens((1, 2, 3), (1, 2, 4)) == 2
    assert shared_tokens((1, 2), (1, 2, 3)) == 2
    assert shared_tokens((), (1,)) == 0


def test_packs_hold_every_row_once_within_their_tokens() -> None:
    lengths = [(7 * n) % 90 + 10 for n in range(40)]
    rows = [_row(str(n), tuple(range(n, n + size)), trained=1) for n, size in enumerate(lengths)]
    packs = by_prefix(range(40), rows, tokens=200)
    assert sorted(index for one in packs for index in one) == list(range(40))
    sizes = [sum(lengths[index] for index in one) for one in packs]
    assert max(sizes) <= 200
    # As few packs as possible, and some more because rows are not cut.
    assert len(packs) <= sum(lengths) // 200 + 3


def test_rows_with_a_common_prefix_share_a_pack() -> None:
    shared = [_row(f"s{n}", (*PREFIX, n, n), trained=1) for n in range(3)]
    alone = [_row(f"a{n}", tuple(range(n, n + 40)), trained=1) for n in range(3)]
    rows = [row for pair in zip(shared, alone, strict=True) for row in pair]
    packs = by_prefix(range(6), rows, tokens=60)
    assert (0, 2, 4) in packs


def test_a_row_longer_than_a_pack_gets_its_own() -> None:
    rows = [_row(str(n), tuple(range(n, n + 50)), trained=1) for n in range(3)]
    assert [len(one) for one in by_prefix(range(3), rows, tokens=10)] == [1, 1, 1]
