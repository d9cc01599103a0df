"""Records how far a run has come: curves, loss warnings, and a checkpoint when one is due.

If a checkpoint cannot be saved (a full disk), that is reported and tried again after the next step;
the run goes on, and the last good checkpoint stays.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from journeyman.errors import MachineError
from journeyman.events import Caution, Note, Reporter
from journeyman.settings import TrainSettings
from journeyman.train.checkpoint.read import checkpoint_name
from journeyman.train.checkpoint.save import Tensors, save_checkpoint
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.monitor.loss_warnings import LossWarnings
from journeyman.train.monitor.progress import Meter
from journeyman.train.monitor.tensorboard import TensorBoardWriter
from journeyman.train.state import State

if TYPE_CHECKING:
    from torch import Tensor

_NO_TENSORS: Mapping[str, "Tensor"] = MappingProxyType({})


class Recorder:
    """Gets every new state of a run, in order; `state` is the last one."""

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
        self._saved = state.position
        self._is_overdue = False
        self._saves = 0
        self._saving_s = 0.0

    def record(self, state: State) -> None:
        """Write the curves, and a checkpoint after every `save_steps` steps and the last one."""
        is_step = state.step > self.state.step
        self.state = state
        if is_step:
            self._tensorboard.add_step(state)
            due = state.step % self._settings.save_steps == 0 or state.step == self._steps
            if due or self._is_overdue:
                self.save(state)
        self._tensorboard.add_validations(state)
        self._loss_warnings.check(state)

    def save(self, state: State, gradients: Mapping[str, "Tensor"] = _NO_TENSORS) -> None:
        """Save a state that is not saved yet; reports a failure, after which the run goes on.

        Parameters and moments must be those of the state. gradients: of the current step. Raises
        IntegrityError if the disk fails.
        """
        if state.position <= self._saved:
            return
        self._meter.saving(state)
        started = time.monotonic()
        try:
            save_checkpoint(state, self._tensors(gradients), self._settings)
        except MachineError as error:
            self._is_overdue = True
            self._report(
                Caution(
                    f"{error.message}; training goes on and tries again after the next step; "
                    f"{self.saved}",
                    hint=error.hint,
                )
            )
            return
        self._saving_s += time.monotonic() - started
        self._saves += 1
        self._saved, self._is_overdue = state.position, False

    def _tensors(self, gradients: Mapping[str, "Tensor"]) -> Tensors:
        return Tensors(
            parameters=self._parameters,
            moments=self._optimizer.tensors(),
            gradients=gradients,
        )

    @property
    def saved(self) -> str:
        """The checkpoint that the run can go on from, in words."""
        return (
            f"{checkpoint_name(self._saved)} is saved"
            if any(self._saved)
            else "nothing is saved yet"
        )

    def report_cost(self) -> None:
        """Report how long saving took, compared with a step."""
        if self._saves and self.state.seconds:
            # Means, because an earlier process took some steps of this state.
            share = self._saving_s / self._saves / (self.state.seconds / self.state.step)
            self._report(
                Note(
                    f"{self._saves} checkpoints took {self._saving_s:.1f} s; one takes "
                    f"{share:.2%} of a step's time"
                )
            )


class SilentRecorder:
    """The recorder of every process but rank 0, which records for all of them."""

    saved = "rank 0 saves the checkpoint"

    def __init__(self, state: State) -> None:
        self.state = state

    def record(self, state: State) -> None:
        """Keep the state in memory only."""
        self.state = state

    def save(self, state: State, gradients: Mapping[str, "Tensor"] = _NO_TENSORS) -> None:
        """Save nothing."""

    def report_cost(self) -> None:
        """Report nothing."""
