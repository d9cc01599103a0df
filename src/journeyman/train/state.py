"""How far a run has come, as plain data: what a checkpoint holds besides its tensors."""

import statistics
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from journeyman.settings import Device
from journeyman.train.batching.batches import MemoryReduction, OptimiserStep
from journeyman.train.engine.devices import CUDA, gpu_name
from journeyman.train.engine.interface import Tally, total
from journeyman.train.identity import Change, Identity

# A loss spike: OLMo-core's rule for skipping a step (its `SkipStepOptimizer`), used here to warn.
# With fewer steps than the least number, the deviation says too little.
SPIKE_DEVIATIONS = 6.0
_SPIKE_WINDOW_STEPS = 128
_SPIKE_LEAST_STEPS = 8


class FinishedStep(Struct, frozen=True):
    """One optimiser step that was taken.

    loss: in nats a trained token, over the whole step. spike: whether it was a loss spike, see
    `is_spike`.
    """

    step: int
    epoch: int
    loss: float
    lr: float
    gradient_norm: float
    real_tokens: int
    computed_tokens: int
    seconds: float
    spike: bool = False


class Validation(Struct, frozen=True):
    """Mean validation loss of a trained token after a step; step 0 is the base model."""

    step: int
    loss: float


class InStep(Struct, frozen=True):
    """The current step: the micro-batches that are done, their tally, the time they took.

    Their gradients are in the parameters' `.grad`; in a checkpoint, in `gradients.safetensors`.
    """

    micro_batches: int = 0
    tally: Tally = Tally()
    seconds: float = 0.0


class State(Struct, frozen=True):
    """A run so far.

    arithmetic: what the bits of the result depend on besides the identity, see `numerics`. in_step:
    None between steps. fit: what was reduced so that the run fits into memory. lineage: what was
    changed on the way.
    """

    identity: Identity
    arithmetic: str
    taken: tuple[FinishedStep, ...] = ()
    validations: tuple[Validation, ...] = ()
    in_step: InStep | None = None
    fit: MemoryReduction = MemoryReduction()
    lineage: tuple[Change, ...] = ()

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return len(self.taken)

    @property
    def micro_batch(self) -> int:
        """Finished micro-batches of the current step."""
        return self.in_step.micro_batches if self.in_step else 0

    @property
    def position(self) -> tuple[int, int]:
        """Steps taken, and finished micro-batches of the next; orders the states of a run."""
        return self.step, self.micro_batch

    @property
    def real_tokens(self) -> int:
        """Tokens trained on so far, prompts included, padding not."""
        return sum(one.real_tokens for one in self.taken)

    @property
    def real_token_share(self) -> float | None:
        """Real tokens as a share of the computed ones; None before the first step."""
        computed = sum(one.computed_tokens for one in self.taken)
        return self.real_tokens / computed if computed else None

    @property
    def seconds(self) -> float:
        """Time spent in steps, without validations and checkpoints."""
        return sum(one.seconds for one in self.taken)

    @property
    def is_exact(self) -> bool:
        """Whether the result equals an uninterrupted run with these settings, bit for bit."""
        return not self.lineage

    def is_validated(self) -> bool:
        """Whether the validation loss after the last step was measured."""
        return any(one.step == self.step for one in self.validations)


def numerics(processes: int = 1, device: Device = "cpu") -> str:
    """What the bits of a result depend on besides its identity: torch, and the threads or GPU."""
    import torch

    if device == CUDA:
        return f"torch {torch.__version__}, {gpu_name()}"
    together = f", {processes} processes" if processes > 1 else ""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads{together}"


def after_micro_batches(state: State, tally: Tally, *, count: int, seconds: float) -> State:
    """The state after `count` more micro-batches of the current step."""
    before = state.in_step or InStep()
    in_step = InStep(
        before.micro_batches + count, total((before.tally, tally)), before.seconds + seconds
    )
    return replace(state, in_step=in_step)


def after_step(
    state: State, step: OptimiserStep, *, lr: float, gradient_norm: float, seconds: float
) -> State:
    """The state after the update of the current step. seconds: of the update alone."""
    assert state.in_step is not None
    tally = state.in_step.tally
    taken = FinishedStep(
        step=step.number,
        epoch=step.epoch,
        loss=tally.loss,
        lr=lr,
        gradient_norm=gradient_norm,
        real_tokens=tally.real_tokens,
        computed_tokens=tally.computed_tokens,
        seconds=state.in_step.seconds + seconds,
        spike=is_spike(tally.loss, [one.loss for one in state.taken]),
    )
    return replace(state, taken=(*state.taken, taken), in_step=None)


def after_validation(state: State, tally: Tally) -> State:
    """The state with the validation loss after its last step."""
    validation = Validation(state.step, tally.loss)
    return replace(state, validations=(*state.validations, validation))


def with_change(state: State, *changes: Change) -> State:
    """The state with changes in its lineage; the current step starts over, since it changed too."""
    now = tuple(replace(change, step=state.step) for change in changes)
    return replace(state, lineage=(*state.lineage, *now), in_step=None)


def loss_at(validations: Sequence[Validation], step: int) -> float | None:
    """The validation loss after a step, or None if it was not measured."""
    return next((one.loss for one in validations if one.step == step), None)


def is_spike(loss: float, before: Sequence[float]) -> bool:
    """Whether a loss is 6 standard deviations above the mean of up to 128 losses before it."""
    window = before[-_SPIKE_WINDOW_STEPS:]
    if len(window) < _SPIKE_LEAST_STEPS:
        return False
    return loss > statistics.fmean(window) + SPIKE_DEVIATIONS * statistics.stdev(window)
