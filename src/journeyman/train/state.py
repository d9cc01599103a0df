"""How far a run is, in plain data: what a checkpoint holds beside its tensors."""

from collections.abc import Sequence

from msgspec import Struct

from journeyman.train.batches import Step
from journeyman.train.engine import Tally
from journeyman.train.identity import Identity


class Taken(Struct, frozen=True):
    """One optimiser step that was taken. Loss in nats a trained token, over the whole step."""

    step: int
    epoch: int
    loss: float
    lr: float
    gradient_norm: float
    real_tokens: int
    computed_tokens: int
    seconds: float


class Validation(Struct, frozen=True):
    """Mean loss of a trained token of the validation split after a step; step 0 is the base."""

    step: int
    loss: float


class State(Struct, frozen=True):
    """A run so far. `arithmetic` names what exactness depends on beside the identity."""

    identity: Identity
    arithmetic: str
    taken: tuple[Taken, ...] = ()
    validations: tuple[Validation, ...] = ()

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return len(self.taken)

    @property
    def real_tokens(self) -> int:
        """Tokens trained on so far, prompts included, padding not."""
        return sum(one.real_tokens for one in self.taken)

    @property
    def real_token_share(self) -> float | None:
        """Share of the computed tokens that were no padding, 0..1; None before the first step."""
        computed = sum(one.computed_tokens for one in self.taken)
        return self.real_tokens / computed if computed else None

    @property
    def seconds(self) -> float:
        """Time spent in steps, without validation and checkpoints."""
        return sum(one.seconds for one in self.taken)

    def is_validated(self) -> bool:
        """Whether the validation after the last step is known."""
        return any(one.step == self.step for one in self.validations)


def after_step(
    state: State, step: Step, tally: Tally, *, lr: float, gradient_norm: float, seconds: float
) -> State:
    """The state after one more step."""
    taken = Taken(
        step=step.number,
        epoch=step.epoch,
        loss=tally.loss,
        lr=lr,
        gradient_norm=gradient_norm,
        real_tokens=tally.real_tokens,
        computed_tokens=tally.computed_tokens,
        seconds=seconds,
    )
    return State(state.identity, state.arithmetic, (*state.taken, taken), state.validations)


def after_validation(state: State, tally: Tally) -> State:
    """The state with the validation after its last step."""
    validation = Validation(state.step, tally.loss)
    return State(state.identity, state.arithmetic, state.taken, (*state.validations, validation))


def loss_at(validations: Sequence[Validation], step: int) -> float | None:
    """The validation loss after a step, or None where it was not measured."""
    return next((one.loss for one in validations if one.step == step), None)
