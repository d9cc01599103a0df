"""Keeps what a run has reached: curves and advice at every state, a checkpoint where one is due."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from journeyman.settings import TrainSettings
from journeyman.train.advice import Adviser
from journeyman.train.checkpoints import save_checkpoint
from journeyman.train.curves import Curves
from journeyman.train.optimizer import Optimizer
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor


class Recorder:
    """Gets every new state of one run, in order; `state` is the last one it got."""

    def __init__(
        self,
        settings: TrainSettings,
        state: State,
        *,
        steps: int,
        parameters: Mapping[str, "Tensor"],
        optimizer: Optimizer,
        curves: Curves,
        adviser: Adviser,
    ) -> None:
        self.state = state
        self._settings = settings
        self._steps = steps
        self._parameters = parameters
        self._optimizer = optimizer
        self._curves = curves
        self._adviser = adviser
        self._saved_step = state.step

    def record(self, state: State) -> None:
        """Write the state's curves, and a checkpoint after each `save_steps` and the last step."""
        is_step = state.step > self.state.step
        self.state = state
        if is_step:
            self._curves.add_step(state)
            if state.step % self._settings.save_steps == 0 or state.step == self._steps:
                self.save()
        self._curves.add_validations(state)
        self._adviser.look(state)

    def save(self) -> int:
        """Save the last state where it is not on the disk yet; gives the step that is, 0 if none.

        Right only while parameters and optimiser are those of the last state.
        """
        if self.state.step > self._saved_step:
            save_checkpoint(
                self._settings.output_dir,
                self.state,
                self._parameters,
                self._optimizer.tensors(),
                self._settings,
            )
            self._saved_step = self.state.step
        return self._saved_step
