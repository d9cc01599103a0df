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
from msgspec.structs import replace
from torch import Tensor

from journeyman.kernels.adapters import AdapterKernel
from journeyman.kernels.attention import AttentionKernel
from journeyman.kernels.elementwise import ElementwiseKernel
from journeyman.kernels.integer_product import IntegerProduct
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.full_precision_linear import FullPrecisionLinear, UpcastLinear
from journeyman.train.engine.fast.int8_linear import KernelInt8Linear, TorchInt8Linear
from journeyman.train.engine.fast.int8_weights import Int8Weights, quantised
from journeyman.train.engine.fast.shape import HEAD

Method = Literal["fp32", "bf16", "int8", "int8 kernel", "bf16 upcast", "int8 upcast"]
_OF_INT8: set[Method] = {"int8", "int8 kernel", "int8 upcast"}
_LARGEST_BYTE = 127


class FrozenLinear(Protocol):
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


class MixedPrecisionLinear:
    """One arithmetic forward and another backward: both keep their weights."""

    def __init__(self, forward: FrozenLinear, backward: FrozenLinear) -> None:
        self._forward = forward
        self._backward = backward
        self.out_size = forward.out_size

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        return self._forward.forward(states, onto)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        return self._backward.input_gradient(gradient)

    def stored_bytes(self) -> int:
        """See FrozenLinear."""
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
    rows: ElementwiseKernel | None = None
    """In place of torch for losses and dropout, where it takes the rows."""

    def of(self, group: str) -> "Arithmetic":
        """The arithmetic of the products of one group.

        The output layer never reads 7 bits: they would round the long tail of its gradient away.
        """
        return self.full_precision if group == HEAD and self._any_reads_bytes else self

    @property
    def full_precision(self) -> "Arithmetic":
        """The same with full-precision products, forward and backward."""
        return replace(
            self, forward=self.full_precision_method, backward=self.full_precision_method
        )

    @property
    def full_precision_method(self) -> Method:
        """How products that are not INT8 are multiplied."""
        return "bf16" if self.activations is torch.bfloat16 else "fp32"

    @property
    def has_8_bit_inputs(self) -> bool:
        """Whether INT8 products round what they read as coarsely as their weights."""
        return self._reads_bytes(self.forward)

    def _reads_bytes(self, method: Method) -> bool:
        if method == "int8 kernel":
            return self.kernel is not None and self.kernel.largest <= _LARGEST_BYTE
        return method == "int8"

    @property
    def _any_reads_bytes(self) -> bool:
        return any(self._reads_bytes(method) for method in (self.forward, self.backward))


def frozen_linear(
    parts: Sequence[Tensor],
    bias: Tensor | None,
    arithmetic: Arithmetic,
    elementwise: Elementwise,
    *,
    largest_inputs: Tensor | None = None,
) -> FrozenLinear:
    """One product of some weights stacked along their outputs, e.g. query, key and value.

    largest_inputs: (K,) magnitudes by which an INT8 product is smoothed.
    """

    def made(method: Method, added: Tensor | None) -> FrozenLinear:
        if method not in _OF_INT8:
            return _full_precision_linear(parts, added, method)
        weights = quantised(parts, largest_inputs)
        return _int8_linear(weights, added, method, arithmetic.kernel, elementwise)

    forward = made(arithmetic.forward, bias)
    if arithmetic.backward == arithmetic.forward:
        return forward
    return MixedPrecisionLinear(forward, made(arithmetic.backward, None))


def _full_precision_linear(
    parts: Sequence[Tensor], bias: Tensor | None, method: Method
) -> FrozenLinear:
    if method in ("fp32", "bf16"):
        dtype = torch.float32 if method == "fp32" else torch.bfloat16
        return FullPrecisionLinear(_stacked([part.to(dtype) for part in parts]), bias)
    return UpcastLinear(_stacked([part.to(torch.bfloat16) for part in parts]), bias)


def _int8_linear(
    weights: Int8Weights,
    bias: Tensor | None,
    method: Method,
    kernel: IntegerProduct | None,
    elementwise: Elementwise,
) -> FrozenLinear:
    if method == "int8 upcast":
        return UpcastLinear(weights, bias)
    if method == "int8 kernel":
        assert kernel is not None
        return KernelInt8Linear(weights, bias, kernel)
    return TorchInt8Linear(weights, bias, elementwise)


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(list(parts))
