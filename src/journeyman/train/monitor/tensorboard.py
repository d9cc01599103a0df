"""Curves of a run as TensorBoard event files.

If they cannot be written (a full disk), the run warns once and goes on.
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
    """Writes event files into `logs/`; a resumed run continues the curves where it resumed."""

    def __init__(self, folder: Path, state: State, report: Reporter = ignore) -> None:
        self._report = report
        self._has_failed = False
        # purge_step hides what a killed run wrote after its last checkpoint; else it shows twice.
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
        with self._warning_once():
            self._writer.close()

    def add_step(self, state: State) -> None:
        """Write the last step of the state."""
        taken = state.taken[-1]
        with self._warning_once():
            self._writer.add_scalar("train/loss", taken.loss, taken.step)
            self._writer.add_scalar("train/lr", taken.lr, taken.step)
            self._writer.add_scalar("train/gradient_norm", taken.gradient_norm, taken.step)
            tokens_per_s = taken.real_tokens / taken.seconds if taken.seconds else 0.0
            self._writer.add_scalar("train/tokens_per_s", tokens_per_s, taken.step)
            if (resident := rss_bytes()) is not None:
                self._writer.add_scalar("train/rss_gib", resident / 2**30, taken.step)
            if (on_gpu := gpu_peak_bytes()) is not None:
                self._writer.add_scalar("train/gpu_peak_gib", on_gpu / 2**30, taken.step)
            self._writer.flush()

    def add_validations(self, state: State) -> None:
        """Write the validations that are new in the state."""
        with self._warning_once():
            for one in state.validations[self._validated :]:
                self._writer.add_scalar("val/loss", one.loss, one.step)
            self._writer.flush()
        self._validated = len(state.validations)

    @contextlib.contextmanager
    def _warning_once(self) -> Iterator[None]:
        try:
            yield
        except OSError as failure:
            if not self._has_failed:
                reason = failure.strerror or failure
                self._report(Caution(f"cannot write the curves in `logs/`: {reason}"))
            self._has_failed = True
