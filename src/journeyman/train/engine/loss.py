"""Cross-entropy through the frozen output layer in chunks, with the gradient written by hand.

Logits are computed only for trained tokens, a chunk at a time, and not kept: with a vocabulary of
152,000, those of a row of 2,048 tokens would take 1.2 GB.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from journeyman.kernels.elementwise import ElementwiseKernel

# Some hundred rows of the largest vocabularies: with fewer, packing the weights for the product
# takes as long as a quarter of the product itself (docs/experiments.md).
CHUNK_BYTES = 160 * 1024 * 1024


class Head(Protocol):
    """The output layer, from H values to V logits."""

    out_size: int

    def forward(self, states: Tensor) -> Tensor:
        """(N, H) to a new (N, V), in the dtype of the states."""

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """(N, V) to (N, H), in the dtype of the gradient."""


class PlainHead:
    """An output layer with its own weights. weight: (V, H). bias: (V,)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._bias = bias
        self.out_size = weight.shape[0]

    def forward(self, states: Tensor) -> Tensor:
        """See Head."""
        return functional.linear(states, self._weight, self._bias)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """See Head."""
        return gradient @ self._weight


def completion_loss(
    hidden: Tensor,
    targets: Tensor,
    head: Head,
    *,
    with_gradient: bool,
    chunk_bytes: int = CHUNK_BYTES,
    kernel: ElementwiseKernel | None = None,
) -> tuple[float, Tensor]:
    """Summed loss in nats, and its gradient by `hidden` (empty without `with_gradient`).

    hidden: (N, H) in the head's dtype. targets: (N,) int64. kernel: used if it supports that dtype.
    Softmax and sums are always float32.
    """
    if kernel is not None and not kernel.takes(hidden):
        kernel = None
    # Without the kernel, logits are upcast to float32.
    element_bytes = 4 if kernel is None else hidden.element_size()
    rows = max(1, chunk_bytes // (element_bytes * head.out_size))
    loss_sum = 0.0
    gradients: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, hidden.shape[0], rows):
            logits = head.forward(hidden[start : start + rows])
            chunk = targets[start : start + rows]
            if kernel is None:
                logits = logits.float()
                loss_sum += _cross_entropy(logits, chunk, with_gradient=with_gradient)
            else:
                loss_sum += kernel.cross_entropy(logits, chunk, with_gradient=with_gradient)
            if with_gradient:
                gradients.append(head.input_gradient(logits.to(hidden.dtype)))
    return loss_sum, torch.cat(gradients) if gradients else hidden.new_empty(0)


def _cross_entropy(logits: Tensor, targets: Tensor, *, with_gradient: bool) -> float:
    """The summed loss of float32 logits; with_gradient: the logits are replaced by it."""
    chunk = targets.unsqueeze(1)
    largest = logits.amax(dim=1, keepdim=True)
    right = logits.gather(1, chunk) - largest
    # In place, with one exponential for loss and gradient, because this is the largest array.
    shares = logits.sub_(largest).exp_()
    sums = shares.sum(dim=1, keepdim=True)
    if with_gradient:
        shares.div_(sums).scatter_add_(1, chunk, torch.full_like(right, -1.0))
    return float((sums.log() - right).sum())
