"""Things that belong together, joined pair by pair. (Union by size, path halving; Tarjan 1975.)"""

from array import array


class Union:
    """Groups of the numbers 0 to before `count`; at first each one is alone."""

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
        """Make two groups one."""
        one, other = self.root(one), self.root(other)
        if one == other:
            return
        if self._size[one] < self._size[other]:
            one, other = other, one
        self._parent[other] = one
        self._size[one] += self._size[other]
