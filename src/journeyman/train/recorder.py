"""Records how far a run has come: curves, loss warnings, and a checkpoint when one is due.

A checkpoint that cannot be saved (a full disk) is reported and tried again after the next step. It
does not end the run: the last good one stays.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from journeyman.errors import MachineError
from journeyman.events import Caution, Note, Reporter
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.read import name_of
from journeyman.train.checkpoint.save import Tensors, save_checkpoint
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.monitor.loss_warnings import LossWarnings
from journeyman.train.monitor.progress import Meter
from journeyman.train.monitor.tensorboard import TensorBoardWriter
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor

NONE: Mapping[str, "Tensor"] = MappingProxyType({})


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
        tensorboard: TensorBoardWriter,
        loss_warnings: LossWarnings,
        meter: Meter,
        report: Reporter,
    ) -> None:
        self.state = state
        self._settings = settings
        self._steps = steps
        self._parameters = parameters
        self._optimizer = optimizer
        self._tensorboard = tensorboard
        self._loss_warnings = loss_warnings
        self._meter = meter
        self._report = report
        self._saved = state.place
        self._is_overdue = False
        self._saves = 0
        self._saving_s = 0.0

    def record(self, state: State) -> None:
        """Write the state's curves, and a checkpoint after each `save_steps` and the last step."""
        is_step = state.step > self.state.step
        self.state = state
        if is_step:
            self._tensorboard.add_step(state)
            due = state.step % self._settings.save_steps == 0 or state.step == self._steps
            if due or self._is_overdue:
                self.save(state)
        self._tensorboard.add_validations(state)
        self._loss_warnings.check(state)

    def save(self, state: State, gradients: Mapping[str, "Tensor"] = NONE) -> None:
        """Save a state where it is not on the disk yet; a failure is said, and the run goes on.

        Right only while parameters and moments are those of the state. gradients: of the
        micro-batches of the step in hand.
        Raises IntegrityError where the disk fails.
        """
        if state.place <= self._saved:
            return
        self._meter.saving(state)
        started = time.monotonic()
        try:
            save_checkpoint(state, self._tensors(gradients), self._settings)
        except MachineError as error:
            self._is_overdue = True
            self._report(
                Caution(
                    f"{error.message}; training goes on and tries again after the next step, "
                    f"{self.saved}",
                    hint=error.hint,
                )
            )
            return
        self._saving_s += time.monotonic() - started
        self._saves += 1
        self._saved, self._is_overdue = state.place, False

    def _tensors(self, gradients: Mapping[str, "Tensor"]) -> Tensors:
        return Tensors(
            parameters=self._parameters,
            moments=self._optimizer.tensors(),
            gradients=gradients,
        )

    @property
    def saved(self) -> str:
        """What a run can go on from, in words."""
        return f"{name_of(self._saved)} is saved" if any(self._saved) else "nothing is saved yet"

    def report_cost(self) -> None:
        """Say what saving took beside the steps of the whole run."""
        if self._saves and self.state.seconds:
            # Both means: an earlier process took steps of this state too.
            share = self._saving_s / self._saves / (self.state.seconds / self.state.step)
            self._report(
                Note(
                    f"{self._saves} checkpoints took {self._saving_s:.1f} s; one takes "
                    f"{share:.2%} of a step's time"
                )
            )


class SilentRecorder:
    """The recorder of every process but rank 0, which records for all of them."""

    saved = "rank 0 saves the run"

    def __init__(self, state: State) -> None:
        self.state = state

    def record(self, state: State) -> None:
        """Keep the state in memory only."""
        self.state = state

    def save(self, state: State, gradients: Mapping[str, "Tensor"] = NONE) -> None:
        """Save nothing."""

    def report_cost(self) -> None:
        """Report nothing."""
