"""Things that belong together, joined pair by pair. (Union by size, path halving; Tarjan 1975.)"""

from array import array
from collections.abc import Sequence


class UnionFind:
    """Groups of the numbers from 0 to before `count`; at first each number is alone."""

    def __init__(self, count: int) -> None:
        self._parent = array("q", range(count))
        self._size = array("q", [1]) * count

    def root(self, one: int) -> int:
        """A number that is equal for all members of a group."""
        parent = self._parent
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    def join(self, one: int, other: int) -> None:
        """Make one group of two."""
        one, other = self.root(one), self.root(other)
        if one == other:
            return
        if self._size[one] < self._size[other]:
            one, other = other, one
        self._parent[other] = one
        self._size[one] += self._size[other]


def joined(keys: Sequence[Sequence[str]]) -> list[str]:
    """For each row a group id, equal for rows that are connected by a chain of shared keys.

    keys: what each row must stay together with: its prompt, its conversation. The id is the
    smallest key of the chain, so it does not depend on the order of the rows.
    """
    names = sorted({key for row in keys for key in row})
    numbers = {name: number for number, name in enumerate(names)}
    groups = UnionFind(len(names))
    for first, *others in keys:
        for key in others:
            groups.join(numbers[first], numbers[key])
    smallest: dict[int, str] = {}
    for number, name in enumerate(names):
        smallest.setdefault(groups.root(number), name)
    return [smallest[groups.root(numbers[row[0]])] for row in keys]
