"""Sequence packing: the rows of a micro-batch as one sequence without padding.

A prefix that rows share is computed once: an agent sends the same system prompt with every call,
and the turns of a conversation repeat each other. The rows become a tree by their token ids, laid
out depth first, so that all descendants of a node follow it directly: its keys are visible to its
own tokens (causally) and to one contiguous block of later tokens (all of them). No row sees another
row.
"""

from collections.abc import Sequence

import torch
from msgspec import Struct
from torch import Tensor

from journeyman.train.batching.batches import LEAST_SHARED_TOKENS, shared_tokens
from journeyman.train.batching.rows import TokenRow

_CPU = torch.device("cpu")


class TokenSpan(Struct, frozen=True):
    """One node of the tree: it has tokens [start, end), its descendants have [end, reach)."""

    start: int
    end: int
    reach: int


class Pack(Struct, frozen=True):
    """Packed rows: T tokens, and N places at which a target is predicted.

    ids, positions: (T,) int64. places: (N,) int64, indices into T; a shared token may be there
    several times, with different targets. targets: (N,) int64. real_tokens: of the rows.
    """

    ids: Tensor
    positions: Tensor
    spans: tuple[TokenSpan, ...]
    places: Tensor
    targets: Tensor
    real_tokens: int

    @property
    def computed_tokens(self) -> int:
        """How many tokens the model computes."""
        return len(self.ids)


def pack(
    rows: Sequence[TokenRow],
    *,
    least_shared_tokens: int = LEAST_SHARED_TOKENS,
    device: torch.device = _CPU,
) -> Pack:
    """Pack some rows; their order makes no difference. device: of the tensors.

    Tokens after a row's last trained one have no effect and are left out.
    """
    builder = _Builder(sorted(rows, key=lambda row: row.ids), least_shared_tokens)
    builder.add_branch(0, len(builder.rows), depth=0)
    return builder.pack(device)


class _Builder:
    """Lays out rows sorted by their ids, so that the rows of a subtree are next to each other."""

    def __init__(self, rows: Sequence[TokenRow], least: int) -> None:
        self.rows = rows
        self._least = least
        # A token is needed only if a later one of its row is trained.
        self._inputs = [row.ids[: _last_trained(row)] for row in rows]
        self._common = [
            shared_tokens(one, other)
            for one, other in zip(self._inputs, self._inputs[1:], strict=False)
        ]
        self._slots: list[list[int]] = [[] for _ in rows]
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._spans: list[TokenSpan] = []

    def add_branch(self, first: int, last: int, *, depth: int) -> None:
        """Lay out rows [first, last) from `depth` on; they share all tokens before."""
        start = first
        for row in range(first, last):
            is_last_of_node = row + 1 == last or self._common[row] < depth + self._least
            if is_last_of_node:
                self._add_node(start, row + 1, depth=depth)
                start = row + 1

    def _add_node(self, first: int, last: int, *, depth: int) -> None:
        end = min(self._common[first : last - 1], default=len(self._inputs[first]))
        start = len(self._ids)
        places = range(start, start + end - depth)
        self._ids += self._inputs[first][depth:end]
        self._positions += range(depth, end)
        for row in range(first, last):
            self._slots[row] += places
        number = len(self._spans)
        self._spans.append(TokenSpan(start, places.stop, places.stop))
        # Rows that end here come first in the order.
        rest = first
        while rest < last and len(self._inputs[rest]) == end:
            rest += 1
        if rest < last:
            self.add_branch(rest, last, depth=end)
        self._spans[number] = TokenSpan(start, places.stop, len(self._ids))

    def pack(self, device: torch.device) -> Pack:
        """The finished pack."""
        places: list[int] = []
        targets: list[int] = []
        for row, slots in zip(self.rows, self._slots, strict=True):
            trained = [at for at in range(1, len(slots) + 1) if row.trained[at]]
            places += [slots[at - 1] for at in trained]
            targets += [row.ids[at] for at in trained]
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
