"""Products whose weights are multiplied in FP32 or BF16, stored so or widened block by block.

Each implements `products.FrozenLinear`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from journeyman.train.engine.fast.int8_weights import Int8Weights

# A widened block stays in the cache of the last level while it is multiplied.
_BLOCK_VALUES = 2 * 1024 * 1024


class FullPrecisionLinear:
    """Weights in the arithmetic they are multiplied in."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = None if bias is None else bias.to(weight.dtype)
        self.out_size = weight.shape[0]

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        given = states.to(self._weight.dtype)
        if onto is None:
            return functional.linear(given, self._weight, self._bias)
        onto.addmm_(given, self._weight.t())
        # After and not before: beside a bias the rest would be rounded away.
        return onto if self._bias is None else onto.add_(self._bias)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        return gradient.to(self._weight.dtype) @ self._weight

    def stored_bytes(self) -> int:
        """See FrozenLinear."""
        return self._weight.nbytes


class UpcastLinear:
    """Weights stored as BF16 or INT8 and multiplied in FP32, a block of output channels at a time.

    BF16 is how most models are published, so their weights lose nothing.
    """

    def __init__(self, weights: Tensor | Int8Weights, bias: Tensor | None) -> None:
        self._weight: Tensor
        self._scale: Tensor | None = None
        self._inverse: Tensor | None = None
        if isinstance(weights, Int8Weights):
            self._weight, self._scale = weights.values, weights.scale
            self._inverse = weights.inverse
        else:
            self._weight = weights
        self._stored_bytes = weights.nbytes
        self._bias = None if bias is None else bias.float()
        self.out_size = self._weight.shape[0]
        self._step = max(1, _BLOCK_VALUES // self._weight.shape[1])

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        wide = states.float() if self._inverse is None else states.float() * self._inverse
        product = wide.new_empty((len(wide), self.out_size))
        scratch = self._scratch()
        for block in self._blocks():
            torch.mm(wide, self._widened(block, scratch).t(), out=product[:, block])
        if self._scale is not None:
            product.mul_(self._scale)
        if self._bias is not None:
            product.add_(self._bias)
        return rounded_sum(product, onto, states.dtype)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        wide = gradient.float()
        if self._scale is not None:
            wide = wide * self._scale
        product = wide.new_zeros((len(wide), self._weight.shape[1]))
        scratch = self._scratch()
        for block in self._blocks():
            product.addmm_(wide[:, block], self._widened(block, scratch))
        if self._inverse is not None:
            product.mul_(self._inverse)
        return product.to(gradient.dtype)

    def stored_bytes(self) -> int:
        """See FrozenLinear."""
        return self._stored_bytes

    def _blocks(self) -> list[slice]:
        starts = range(0, self.out_size, self._step)
        return [slice(start, min(start + self._step, self.out_size)) for start in starts]

    def _scratch(self) -> Tensor:
        """One block in FP32, used again for every block of a product."""
        rows = min(self._step, self.out_size)
        return self._weight.new_empty((rows, self._weight.shape[1]), dtype=torch.float32)

    def _widened(self, block: slice, scratch: Tensor) -> Tensor:
        return scratch[: block.stop - block.start].copy_(self._weight[block])


def rounded_sum(product: Tensor, onto: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A product and what it is added to, in the product's own width and rounded once."""
    return (product if onto is None else product.add_(onto)).to(dtype)
