"""Linear layers multiplied in FP32 or BF16; weights stored with fewer bits are upcast by blocks.

Each implements `linear.FrozenLinear`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from journeyman.train.engine.fast.int8_weights import Int8Weights

# An upcast block stays in the last-level cache while it is multiplied.
_BLOCK_VALUES = 2 * 1024 * 1024


class FullPrecisionLinear:
    """Weights that are stored as they are multiplied."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = None if bias is None else bias.to(weight.dtype)
        self.out_size = weight.shape[0]
        self.stored_bytes = weight.nbytes

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        inputs = states.to(self._weight.dtype)
        if onto is None:
            return functional.linear(inputs, self._weight, self._bias)
        onto.addmm_(inputs, self._weight.t())
        # The bias comes last, because next to it small changes would be rounded away.
        return onto if self._bias is None else onto.add_(self._bias)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        return gradient.to(self._weight.dtype) @ self._weight


class UpcastLinear:
    """Weights stored in BF16 or INT8 and multiplied in FP32, a block of output channels at a time.

    Most models are published in BF16, so that storing it loses nothing.
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
        self.stored_bytes = weights.nbytes
        self._bias = None if bias is None else bias.float()
        self.out_size = self._weight.shape[0]
        self._step = max(1, _BLOCK_VALUES // self._weight.shape[1])

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        inputs = states.float() if self._inverse is None else states.float() * self._inverse
        product = inputs.new_empty((len(inputs), self.out_size))
        buffer = self._buffer()
        for block in self._blocks():
            torch.mm(inputs, self._upcast(block, buffer).t(), out=product[:, block])
        if self._scale is not None:
            product.mul_(self._scale)
        if self._bias is not None:
            product.add_(self._bias)
        return rounded_sum(product, onto, states.dtype)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        inputs = gradient.float()
        if self._scale is not None:
            inputs = inputs * self._scale
        product = inputs.new_zeros((len(inputs), self._weight.shape[1]))
        buffer = self._buffer()
        for block in self._blocks():
            product.addmm_(inputs[:, block], self._upcast(block, buffer))
        if self._inverse is not None:
            product.mul_(self._inverse)
        return product.to(gradient.dtype)

    def _blocks(self) -> list[slice]:
        starts = range(0, self.out_size, self._step)
        return [slice(start, min(start + self._step, self.out_size)) for start in starts]

    def _buffer(self) -> Tensor:
        """Memory for one block in FP32, reused for every block."""
        rows = min(self._step, self.out_size)
        return self._weight.new_empty((rows, self._weight.shape[1]), dtype=torch.float32)

    def _upcast(self, block: slice, buffer: Tensor) -> Tensor:
        return buffer[: block.stop - block.start].copy_(self._weight[block])


def rounded_sum(product: Tensor, onto: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The sum of a product and `onto`, in the product's precision and rounded once."""
    return (product if onto is None else product.add_(onto)).to(dtype)
