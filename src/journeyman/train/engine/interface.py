"""What the training loop asks of an engine, and what an engine answers.

An engine holds the frozen base and the adapter; the loop holds everything else (order, schedule,
optimiser, checkpoints). Padding or packing is the engine's own affair: it gets rows, not tensors.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from journeyman.train.batching.rows import TokenRow

if TYPE_CHECKING:
    from torch import Tensor


class Tally(Struct, frozen=True):
    """What some rows cost and gave. Loss in nats, summed over the trained tokens.

    `real_tokens` are the rows' own tokens; `computed_tokens` also counts padding.
    """

    loss_sum: float = 0.0
    trained_tokens: int = 0
    real_tokens: int = 0
    computed_tokens: int = 0

    @property
    def loss(self) -> float:
        """Mean loss of a trained token, in nats; there must be one."""
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
    """A frozen base with an adapter that can be trained."""

    name: str

    def parameters(self) -> Mapping[str, "Tensor"]:
        """The adapter's leaves by PEFT's file names, float32, in a fixed order; `.grad` adds up.

        lora_A: (r, in). lora_B: (out, r).
        """

    def backward(self, rows: Sequence[TokenRow], *, weight: float, seed: int) -> Tally:
        """Add the gradient of `weight` times the summed loss of the rows to the parameters' grad.

        Equal rows, weight, seed, parameters and thread count give equal bits.
        """

    def loss(self, rows: Sequence[TokenRow]) -> Tally:
        """The summed loss of the rows without dropout; changes nothing."""


@runtime_checkable
class CheckpointingEngine(Protocol):
    """An engine with gradient checkpointing: it recomputes activations instead of keeping them."""

    def enable_gradient_checkpointing(self) -> None:
        """From now on keep no activations inside a layer: less memory, about a third slower."""
