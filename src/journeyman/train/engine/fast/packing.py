"""Rows of a micro-batch as one line of tokens in which a common prefix stands once.

An agent sends the same system prompt with every call, and the turns of a conversation repeat each
other. The rows are made a tree by their token ids and laid out depth first, so that everything
that follows a node stands right behind it: the node's keys are seen by its own tokens (causally)
and by one contiguous block of later tokens (wholly). Nothing is padded, and no row sees another.
"""

from collections.abc import Sequence

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.train.batching.batches import LEAST_SHARED_TOKENS, shared_tokens
from journeyman.train.batching.rows import TokenRow

_CPU = torch.device("cpu")


class TokenSpan(Struct, frozen=True):
    """One node of the tree: its tokens are [start, end), those of its descendants [end, reach)."""

    start: int
    end: int
    reach: int


class Pack(Struct, frozen=True):
    """Rows as one line of T tokens, and where the loss is taken (N places).

    ids, positions: (T,) int64. places: (N,) int64 into T; a shared token may stand there more than
    once, with different targets. targets: (N,) int64.
    """

    ids: Tensor
    positions: Tensor
    spans: tuple[TokenSpan, ...]
    places: Tensor
    targets: Tensor
    real_tokens: int

    @property
    def computed_tokens(self) -> int:
        """How many tokens pass through the model."""
        return len(self.ids)


def pack(
    rows: Sequence[TokenRow],
    *,
    least_shared_tokens: int = LEAST_SHARED_TOKENS,
    device: torch.device = _CPU,
) -> Pack:
    """The tree of some rows. What follows a row's last trained token has no effect and is left out.

    Equal rows in another order give an equal pack. device: where its tensors shall be.
    """
    builder = _Builder(sorted(rows, key=lambda row: row.ids), least_shared_tokens)
    builder.branch(0, len(builder.rows), depth=0)
    return builder.pack(device)


class _Builder:
    """Rows in the order of their ids, so that the rows of every subtree are neighbours."""

    def __init__(self, rows: Sequence[TokenRow], least: int) -> None:
        self.rows = rows
        self._least = least
        # A token is needed as long as a later one of its row is trained.
        self._inputs = [row.ids[: _last_trained(row)] for row in rows]
        self._common = [
            shared_tokens(one, other)
            for one, other in zip(self._inputs, self._inputs[1:], strict=False)
        ]
        self._slots: list[list[int]] = [[] for _ in rows]
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._spans: list[TokenSpan] = []

    def branch(self, first: int, last: int, *, depth: int) -> None:
        """Lay out rows [first, last), which share their first `depth` tokens, from there on."""
        start = first
        for row in range(first, last):
            ends = row + 1 == last or self._common[row] < depth + self._least
            if ends:
                self._node(start, row + 1, depth=depth)
                start = row + 1

    def _node(self, first: int, last: int, *, depth: int) -> None:
        end = min(self._common[first : last - 1], default=len(self._inputs[first]))
        start = len(self._ids)
        places = range(start, start + end - depth)
        self._ids += self._inputs[first][depth:end]
        self._positions += range(depth, end)
        for row in range(first, last):
            self._slots[row] += places
        number = len(self._spans)
        self._spans.append(TokenSpan(start, places.stop, places.stop))
        # Rows that end here come first by their order and need nothing more.
        rest = first
        while rest < last and len(self._inputs[rest]) == end:
            rest += 1
        if rest < last:
            self.branch(rest, last, depth=end)
        self._spans[number] = TokenSpan(start, places.stop, len(self._ids))

    def pack(self, device: torch.device) -> Pack:
        """The finished line."""
        places: list[int] = []
        targets: list[int] = []
        for row, slots in zip(self.rows, self._slots, strict=True):
            learned = [at for at in range(1, len(slots) + 1) if row.trained[at]]
            places += [slots[at - 1] for at in learned]
            targets += [row.ids[at] for at in learned]
        return Pack(
            ids=torch.tensor(self._ids, device=device),
            positions=torch.tensor(self._positions, device=device),
            spans=tuple(span for span in self._spans if span.end > span.start),
            places=torch.tensor(places, device=device),
            targets=torch.tensor(targets, device=device),
            real_tokens=sum(len(row.ids) for row in self.rows),
        )


def _last_trained(row: TokenRow) -> int:
    return max(at for at in range(1, len(row.ids)) if row.trained[at])
