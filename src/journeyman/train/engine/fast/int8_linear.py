"""Linear layers with INT8 weights and quantised activations, by torch or by the project's kernel.

Each implements `linear.FrozenLinear`.
"""

import torch
from torch import Tensor

from journeyman.kernels.integer_product import IntegerProduct
from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.full_precision_linear import rounded_sum
from journeyman.train.engine.fast.int8_weights import Int8Weights


class TorchInt8Linear:
    """INT8 weights times activations that are quantised to INT8 by rows, summed in INT32.

    `torch._int_mm` uses oneDNN, which is fast on processors with VNNI or AMX.
    """

    def __init__(self, weights: Int8Weights, bias: Tensor | None, elementwise: Elementwise) -> None:
        self._weights = weights
        self._bias = bias
        self._do = elementwise
        self.out_size = len(weights.values)
        self.stored_bytes = weights.nbytes

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
        weights = self._weights
        if weights.inverse is None:
            rows, row_scale = self._do.quantised_rows(states)
        else:
            rows, row_scale = self._do.quantised_scaled_rows(states, weights.inverse)
        product = torch._int_mm(rows, weights.values.t())
        dtype = states.dtype if onto is None else torch.float32
        output: Tensor = self._do.rescaled(product, row_scale, weights.scale, dtype)
        if self._bias is not None:
            output.add_(self._bias.to(dtype))
        return rounded_sum(output, onto, states.dtype)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See FrozenLinear. The channels' scales go into the gradient before it is quantised."""
        weights = self._weights
        rows, row_scale = self._do.quantised_scaled_rows(gradient, weights.scale)
        product = torch._int_mm(rows, weights.values)
        if weights.inverse is not None:
            by_input: Tensor = self._do.rescaled(
                product, row_scale, weights.inverse, gradient.dtype
            )
        else:
            by_input = self._do.row_rescaled(product, row_scale, gradient.dtype)
        return by_input


class KernelInt8Linear:
    """INT8 weights with the project's kernel; activations have 15 bits (AVX2) or 7 (VNNI)."""

    def __init__(self, weights: Int8Weights, bias: Tensor | None, kernel: IntegerProduct) -> None:
        self._weights = weights
        self._bias = bias
        self._kernel = kernel
        self.out_size = len(weights.values)
        self.stored_bytes = weights.nbytes

    def forward(self, states: Tensor, onto: Tensor | None = None) -> Tensor:
        """See FrozenLinear."""
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
        """See FrozenLinear."""
        weights = self._weights
        return self._kernel.backward(
            gradient, weights.values, weights.scale, input_scale=weights.inverse
        )
