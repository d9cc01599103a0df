"""Curves of a run: TensorBoard event files while it goes on.

A curve that cannot be written (a full disk) is said once and does not end the run.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from journeyman.events import Caution, Reporter, ignore
from journeyman.machine.process_memory import rss_bytes
from journeyman.train.engine.devices import gpu_peak_bytes
from journeyman.train.state import State


class TensorBoardWriter:
    """Writes event files into `logs/`; a resumed run goes on after the step it resumed from."""

    def __init__(self, folder: Path, state: State, report: Reporter = ignore) -> None:
        self._report = report
        self._has_failed = False
        # purge_step: what a killed run wrote after its last checkpoint is hidden, not shown twice.
        self._writer = SummaryWriter(folder, purge_step=state.step + 1 if state.step else 0)
        self._validated = len(state.validations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._said_once():
            self._writer.close()

    @contextlib.contextmanager
    def _said_once(self) -> Iterator[None]:
        try:
            yield
        except OSError as failure:
            if not self._has_failed:
                reason = failure.strerror or failure
                self._report(Caution(f"the curves in `logs/` cannot be written: {reason}"))
            self._has_failed = True

    def add_step(self, state: State) -> None:
        """The last step of the state."""
        taken = state.taken[-1]
        with self._said_once():
            self._writer.add_scalar("train/loss", taken.loss, taken.step)
            self._writer.add_scalar("train/lr", taken.lr, taken.step)
            self._writer.add_scalar("train/gradient_norm", taken.gradient_norm, taken.step)
            rate = taken.real_tokens / taken.seconds if taken.seconds else 0.0
            self._writer.add_scalar("train/tokens_per_s", rate, taken.step)
            resident = rss_bytes()
            if resident is not None:
                self._writer.add_scalar("train/rss_gib", resident / 2**30, taken.step)
            on_gpu = gpu_peak_bytes()
            if on_gpu is not None:
                self._writer.add_scalar("train/gpu_peak_gib", on_gpu / 2**30, taken.step)
            self._writer.flush()

    def add_validations(self, state: State) -> None:
        """Validations that were not written yet."""
        with self._said_once():
            for one in state.validations[self._validated :]:
                self._writer.add_scalar("val/loss", one.loss, one.step)
            self._writer.flush()
        self._validated = len(state.validations)
