"""Curves of a run: TensorBoard event files while it goes on, one picture when it is over."""

from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

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
        self._writer.flush()

    def add_validations(self, state: State) -> None:
        """Validations that were not written yet."""
        for one in state.validations[self._validated :]:
            self._writer.add_scalar("val/loss", one.loss, one.step)
        self._validated = len(state.validations)
        self._writer.flush()


def draw_losses(path: Path, state: State) -> None:
    """A picture of training and validation loss by step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    steps = [one.step for one in state.taken]
    axes.plot(
        steps, [one.loss for one in state.taken], color="#4477aa", label="training, each step"
    )
    if state.validations:
        at = [one.step for one in state.validations]
        losses = [one.loss for one in state.validations]
        axes.plot(at, losses, "o-", color="#cc3311", label="validation (step 0: base)")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss, nats per trained token")
    axes.set_title(f"LoRA on {state.identity.base_name}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    temporary = path.with_name(f".tmp-{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
