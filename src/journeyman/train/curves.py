"""Curves of a run: TensorBoard event files while it goes on."""

from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from journeyman.train.memory import rss_bytes
from journeyman.train.state import State


class Curves:
    """Writes event files into `logs/`; a resumed run goes on after the step it resumed from."""

    def __init__(self, folder: Path, state: State) -> None:
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
        self._writer.close()

    def add_step(self, state: State) -> None:
        """The last step of the state."""
        taken = state.taken[-1]
        self._writer.add_scalar("train/loss", taken.loss, taken.step)
        self._writer.add_scalar("train/lr", taken.lr, taken.step)
        self._writer.add_scalar("train/gradient_norm", taken.gradient_norm, taken.step)
        rate = taken.real_tokens / taken.seconds if taken.seconds else 0.0
        self._writer.add_scalar("train/tokens_per_s", rate, taken.step)
        resident = rss_bytes()
        if resident is not None:
            self._writer.add_scalar("train/rss_gib", resident / 2**30, taken.step)
        self._writer.flush()

    def add_validations(self, state: State) -> None:
        """Validations that were not written yet."""
        for one in state.validations[self._validated :]:
            self._writer.add_scalar("val/loss", one.loss, one.step)
        self._validated = len(state.validations)
        self._writer.flush()
