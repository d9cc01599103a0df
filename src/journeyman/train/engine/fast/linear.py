"""Frozen linear layers in a chosen arithmetic: y = x W^T + b forward, dx = dy W backward.

Frozen weights may be stored and multiplied in the way that is fastest on the machine: in FP32, in
BF16 if the processor supports it, in INT8 with a scale for each output channel, or stored with
fewer bits and upcast to FP32 by blocks. W is (N, K), x (T, K), y (T, N). There is no gradient by W.
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
from journeyman.train.engine.fast.int8_weights import Int8Weights, quantise
from journeyman.train.engine.fast.shape import HEAD

Method = Literal["fp32", "bf16", "int8", "int8 kernel", "bf16 upcast", "int8 upcast"]
_INT8_METHODS: set[Method] = {"int8", "int8 kernel", "int8 upcast"}
_LARGEST_INT8 = 127


class FrozenLinear(Protocol):
    """A frozen linear layer. stored_bytes: memory of its weights."""

    out_size: int
    stored_bytes: int

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """(T, K) to (T, N), in the dtype of the states.

        onto: (T, N) in that dtype, added before the result is rounded, and overwritten. Added after
        rounding, a change smaller than half a step of BF16 would be lost.
        """

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """(T, N) to (T, K), in the dtype of the gradient."""


class MixedPrecisionLinear:
    """One arithmetic forward and another backward; each has its own weights."""

    def __init__(self, forward: FrozenLinear, backward: FrozenLinear) -> None:
        self._forward = forward
        self._backward = backward
        self.out_size = forward.out_size
        self.stored_bytes = forward.stored_bytes + backward.stored_bytes

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        return self._forward.forward(states, onto)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear."""
        return self._backward.input_gradient(gradient)


class Arithmetic(Struct, frozen=True):
    """How frozen linear layers are stored and multiplied, and the dtype of activations.

    kernel: for the method `int8 kernel`. adapters, attention, rows: kernels to use instead of torch
    for adapters, for attention, and for losses, dropout and positions.
    """

    forward: Method
    backward: Method
    activations: torch.dtype
    kernel: IntegerProduct | None = None
    adapters: AdapterKernel | None = None
    attention: AttentionKernel | None = None
    rows: ElementwiseKernel | None = None

    def of(self, group: str) -> "Arithmetic":
        """The arithmetic of one product group.

        The output layer never has 8-bit inputs, which would round away the long tail of its
        gradient.
        """
        methods = (self.forward, self.backward)
        is_full = group == HEAD and any(self._quantises_to_8_bits(method) for method in methods)
        return self.full_precision if is_full else self

    @property
    def full_precision(self) -> "Arithmetic":
        """The same in full precision, forward and backward."""
        return replace(
            self, forward=self.full_precision_method, backward=self.full_precision_method
        )

    @property
    def full_precision_method(self) -> Method:
        """How full-precision layers are multiplied."""
        return "bf16" if self.activations is torch.bfloat16 else "fp32"

    @property
    def has_8_bit_inputs(self) -> bool:
        """Whether INT8 layers quantise their inputs as coarsely as their weights."""
        return self._quantises_to_8_bits(self.forward)

    def _quantises_to_8_bits(self, method: Method) -> bool:
        if method == "int8 kernel":
            return self.kernel is not None and self.kernel.largest <= _LARGEST_INT8
        return method == "int8"


def frozen_linear(
    parts: Sequence[Tensor],
    bias: Tensor | None,
    arithmetic: Arithmetic,
    elementwise: Elementwise,
    *,
    largest_inputs: Tensor | None = None,
) -> FrozenLinear:
    """The linear layer of weights stacked along their outputs, e.g. of query, key and value.

    largest_inputs: (K,) magnitudes by which INT8 is smoothed.
    """

    def build(method: Method, bias: Tensor | None) -> FrozenLinear:
        if method not in _INT8_METHODS:
            return _full_precision_linear(parts, bias, method)
        weights = quantise(parts, largest_inputs)
        return _int8_linear(weights, bias, method, arithmetic.kernel, elementwise)

    forward = build(arithmetic.forward, bias)
    if arithmetic.backward == arithmetic.forward:
        return forward
    return MixedPrecisionLinear(forward, build(arithmetic.backward, None))


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
