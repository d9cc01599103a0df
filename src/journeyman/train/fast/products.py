"""Products with frozen weights: y = x W^T + b forward, dx = dy W backward, in a chosen arithmetic.

A weight is only ever read, so it may be stored and multiplied in the way that suits the machine:
FP32, BF16 where the processor multiplies it, INT8 with a scale for each output channel, or stored
narrow and widened to FP32 block by block where the processor multiplies nothing else quickly.
W is (N, K), x (T, K), y (T, N). No gradient by W is ever made.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from msgspec import Struct
from torch import Tensor
from torch.nn import functional

from journeyman.kernels.adapters import AdapterKernel
from journeyman.kernels.attention import AttentionKernel
from journeyman.kernels.integer_product import IntegerProduct
from journeyman.kernels.rows import RowsKernel
from journeyman.train.fast.elementwise import Elementwise
from journeyman.train.fast.int8_weights import Int8Weights, quantised

Method = Literal["fp32", "bf16", "int8", "int8 kernel", "bf16 widened", "int8 widened"]
_OF_INT8: set[Method] = {"int8", "int8 kernel", "int8 widened"}
_LARGEST_BYTE = 127
# A widened block stays in the cache of the last level while it is multiplied.
_BLOCK_VALUES = 2 * 1024 * 1024


class Product(Protocol):
    """A frozen linear layer."""

    out_size: int

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """(T, K) to (T, N), of the dtype of the states.

        onto: (T, N) of that dtype, added before the only rounding and used up. A change smaller
        than half a step of BF16 would be lost if it were added to a product that is rounded.
        """

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """(T, N) to (T, K), of the dtype of the gradient."""

    def stored_bytes(self) -> int:
        """Memory of the weights."""


class WideProduct:
    """Weights in the arithmetic they are multiplied in."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = None if bias is None else bias.to(weight.dtype)
        self.out_size = weight.shape[0]

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See Product."""
        given = states.to(self._weight.dtype)
        if onto is None:
            return functional.linear(given, self._weight, self._bias)
        onto.addmm_(given, self._weight.t())
        # After and not before: beside a bias the rest would be rounded away.
        return onto if self._bias is None else onto.add_(self._bias)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See Product."""
        return gradient.to(self._weight.dtype) @ self._weight

    def stored_bytes(self) -> int:
        """See Product."""
        return self._weight.nbytes


class WidenedProduct:
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
        """See Product."""
        wide = states.float() if self._inverse is None else states.float() * self._inverse
        product = wide.new_empty((len(wide), self.out_size))
        scratch = self._scratch()
        for block in self._blocks():
            torch.mm(wide, self._widened(block, scratch).t(), out=product[:, block])
        if self._scale is not None:
            product.mul_(self._scale)
        if self._bias is not None:
            product.add_(self._bias)
        return _onto(product, onto, states.dtype)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See Product."""
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
        """See Product."""
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


class Int8Product:
    """INT8 weights times activations rounded to INT8 row by row, summed in INT32.

    `torch._int_mm` runs it through oneDNN; quick where the processor has VNNI or AMX.
    """

    def __init__(self, weights: Int8Weights, bias: Tensor | None, elementwise: Elementwise) -> None:
        self._weights = weights
        self._bias = bias
        self._do = elementwise
        self.out_size = len(weights.values)

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See Product."""
        weights = self._weights
        if weights.inverse is None:
            rows, row_scale = self._do.quantised_rows(states)
        else:
            rows, row_scale = self._do.quantised_scaled_rows(states, weights.inverse)
        product = torch._int_mm(rows, weights.values.t())
        dtype = states.dtype if onto is None else torch.float32
        found: Tensor = self._do.rescaled(product, row_scale, weights.scale, dtype)
        if self._bias is not None:
            found.add_(self._bias.to(dtype))
        return _onto(found, onto, states.dtype)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See Product. The scales of the channels go into the gradient before it is rounded."""
        weights = self._weights
        rows, row_scale = self._do.quantised_scaled_rows(gradient, weights.scale)
        product = torch._int_mm(rows, weights.values)
        if weights.inverse is not None:
            found: Tensor = self._do.rescaled(product, row_scale, weights.inverse, gradient.dtype)
        else:
            found = self._do.row_rescaled(product, row_scale, gradient.dtype)
        return found

    def stored_bytes(self) -> int:
        """See Product."""
        return self._weights.nbytes


class KernelProduct:
    """INT8 weights by the project's kernel: activations of 15 bits (AVX2) or 7 (AVX-512 VNNI)."""

    def __init__(self, weights: Int8Weights, bias: Tensor | None, kernel: IntegerProduct) -> None:
        self._weights = weights
        self._bias = bias
        self._kernel = kernel
        self.out_size = len(weights.values)

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See Product."""
        return self._kernel.forward(
            states,
            self._weights.values,
            self._weights.scale,
            onto,
            bias=self._bias,
            input_scale=self._weights.inverse,
            accumulate=onto is not None,
        )

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See Product."""
        weights = self._weights
        return self._kernel.backward(
            gradient, weights.values, weights.scale, input_scale=weights.inverse
        )

    def stored_bytes(self) -> int:
        """See Product."""
        return self._weights.nbytes


class MixedProduct:
    """One arithmetic forward and another backward: both keep their weights."""

    def __init__(self, forward: Product, backward: Product) -> None:
        self._forward = forward
        self._backward = backward
        self.out_size = forward.out_size

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See Product."""
        return self._forward.forward(states, onto)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See Product."""
        return self._backward.input_gradient(gradient)

    def stored_bytes(self) -> int:
        """See Product."""
        return self._forward.stored_bytes() + self._backward.stored_bytes()


class Arithmetic(Struct, frozen=True):
    """How the frozen products are stored and multiplied, and in what the activations are kept."""

    forward: Method
    backward: Method
    activations: torch.dtype
    kernel: IntegerProduct | None = None
    """Needed by the method `int8 kernel`."""
    adapters: AdapterKernel | None = None
    """For the adapters' own products, in place of torch's."""
    attention: AttentionKernel | None = None
    """In place of torch's own attention, where it takes the heads."""
    rows: RowsKernel | None = None
    """In place of torch for losses and dropout, where it takes the rows."""

    @property
    def wide_method(self) -> Method:
        """How products are multiplied that are not narrow."""
        return "bf16" if self.activations is torch.bfloat16 else "fp32"

    @property
    def has_narrow_inputs(self) -> bool:
        """Whether INT8 products round what they read as coarsely as their weights."""
        return self._reads_bytes(self.forward)

    def _reads_bytes(self, method: Method) -> bool:
        if method == "int8 kernel":
            return self.kernel is not None and self.kernel.largest <= _LARGEST_BYTE
        return method == "int8"

    @property
    def of_the_head(self) -> "Arithmetic":
        """The output layer's own: 7 bits would round the long tail of its gradient away."""
        if not any(self._reads_bytes(method) for method in (self.forward, self.backward)):
            return self
        return Arithmetic(self.wide_method, self.wide_method, self.activations)


def frozen_product(
    parts: Sequence[Tensor],
    bias: Tensor | None,
    arithmetic: Arithmetic,
    elementwise: Elementwise,
    *,
    largest_inputs: Tensor | None = None,
) -> Product:
    """One product of some weights stacked along their outputs, e.g. query, key and value.

    largest_inputs: (K,) magnitudes by which an INT8 product is smoothed.
    """

    def made(method: Method, added: Tensor | None) -> Product:
        if method not in _OF_INT8:
            return _wide_product(parts, added, method)
        weights = quantised(parts, largest_inputs)
        return _int8_product(weights, added, method, arithmetic.kernel, elementwise)

    forward = made(arithmetic.forward, bias)
    if arithmetic.backward == arithmetic.forward:
        return forward
    return MixedProduct(forward, made(arithmetic.backward, None))


def _wide_product(parts: Sequence[Tensor], bias: Tensor | None, method: Method) -> Product:
    if method in ("fp32", "bf16"):
        dtype = torch.float32 if method == "fp32" else torch.bfloat16
        return WideProduct(_stacked([part.to(dtype) for part in parts]), bias)
    return WidenedProduct(_stacked([part.to(torch.bfloat16) for part in parts]), bias)


def _int8_product(
    weights: Int8Weights,
    bias: Tensor | None,
    method: Method,
    kernel: IntegerProduct | None,
    elementwise: Elementwise,
) -> Product:
    if method == "int8 widened":
        return WidenedProduct(weights, bias)
    if method == "int8 kernel":
        assert kernel is not None
        return KernelProduct(weights, bias, kernel)
    return Int8Product(weights, bias, elementwise)


def _onto(product: Tensor, onto: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The sum in the product's own width, rounded once."""
    return (product if onto is None else product.add_(onto)).to(dtype)


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(list(parts))
