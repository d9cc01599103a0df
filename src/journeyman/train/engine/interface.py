"""The interface between the training loop and an engine.

An engine has the frozen base model and the adapter; the loop has everything else (order, schedule,
optimiser, checkpoints). An engine gets rows and pads or packs them itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from journeyman.train.batching.rows import TokenRow

if TYPE_CHECKING:
    from torch import Tensor


class Tally(Struct, frozen=True):
    """The loss of some rows in nats, summed over the trained tokens, and their tokens.

    real_tokens: the rows' own. computed_tokens: with padding, and shared prefixes counted once.
    """

    loss_sum: float = 0.0
    trained_tokens: int = 0
    real_tokens: int = 0
    computed_tokens: int = 0

    @property
    def loss(self) -> float:
        """Mean loss of a trained token in nats; there must be at least one."""
        return self.loss_sum / self.trained_tokens


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of some tallies."""
    loss_sum, trained, real, computed = 0.0, 0, 0, 0
    for tally in tallies:
        loss_sum += tally.loss_sum
        trained += tally.trained_tokens
        real += tally.real_tokens
        computed += tally.computed_tokens
    return Tally(loss_sum, trained, real, computed)


class TrainingEngine(Protocol):
    """A frozen base model with an adapter that can be trained."""

    def parameters(self) -> Mapping[str, "Tensor"]:
        """The adapter's parameters by PEFT's file names, float32, in a fixed order.

        lora_A: (r, inputs). lora_B: (outputs, r). Gradients add up in `.grad`.
        """

    def backward(self, rows: Sequence[TokenRow], *, weight: float, seed: int) -> Tally:
        """Add the gradient of `weight` times the summed loss of the rows to the parameters' grad.

        seed: decides the dropout. Equal arguments, parameters and threads give equal bits.
        """

    def loss(self, rows: Sequence[TokenRow]) -> Tally:
        """The summed loss of the rows without dropout; changes nothing."""

    def enable_gradient_checkpointing(self) -> None:
        """From now on recompute activations in the backward pass: less memory, a third slower."""
