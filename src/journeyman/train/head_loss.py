"""Cross-entropy through the frozen output layer, in chunks, with its gradient by hand.

Logits are made only for the positions that are trained, a chunk at a time, and never kept: with a
vocabulary of 152,000 a whole row of 2,048 positions would be 1.2 GB.
"""

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_BYTES = 64 * 1024 * 1024


def completion_loss(
    hidden: Tensor,
    targets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    with_gradient: bool,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[float, Tensor]:
    """Summed loss in nats, and its gradient by `hidden` (empty without `with_gradient`).

    hidden: (N, H) of the weight's dtype. targets: (N,) int64. weight: (V, H). bias: (V,).
    Softmax and sums are float32 whatever the weight's dtype.
    """
    rows = max(1, chunk_bytes // (4 * weight.shape[0]))
    loss_sum = 0.0
    gradients: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, hidden.shape[0], rows):
            logits = functional.linear(hidden[start : start + rows], weight, bias).float()
            chunk = targets[start : start + rows].unsqueeze(1)
            largest = logits.amax(dim=1, keepdim=True)
            right = logits.gather(1, chunk) - largest
            # In place, and one exponential for both loss and gradient: this is the widest array.
            shares = logits.sub_(largest).exp_()
            sums = shares.sum(dim=1, keepdim=True)
            loss_sum += float((sums.log() - right).sum())
            if with_gradient:
                shares.div_(sums).scatter_add_(1, chunk, torch.full_like(right, -1.0))
                gradients.append(shares.to(weight.dtype) @ weight)
    return loss_sum, torch.cat(gradients) if gradients else hidden.new_empty(0)
