"""`losses.png`: the losses and the learning rate of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.train.monitor.loss_warnings import best_validation, loss_warnings_of
from journeyman.train.state import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _RED, _GREY = "#4477aa", "#cc3311", "#777777"
_SMOOTHING_STEPS = 9


def draw_losses(path: Path, state: State, *, steps: int) -> None:
    """Draw losses and learning rate by step, with the loss warnings as the title.

    Marked: the lowest validation loss, and the ends of epochs. steps: of the whole run; an
    interrupted one has taken fewer.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, learning_rate = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_training(losses, state)
    _draw_validation(losses, state)
    _draw_learning_rate(learning_rate, state)
    # A run that was stopped early is shown up to twice its steps: the rest would be empty.
    shown = min(steps, max(2 * state.step, 10))
    learning_rate.set_xlim(-0.01 * shown, 1.01 * shown)
    learning_rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, learning_rate):
        _mark_epochs(axes, state)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(state, steps), fontsize=13)
    warnings = "\n".join(one.text for one in loss_warnings_of(state))
    losses.set_title(warnings, fontsize=10, color=_RED, loc="left")
    temporary = path.with_name(f".tmp-{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)


def _title(state: State, steps: int) -> str:
    name = state.identity.base_name
    # A whole path would not fit.
    shown = Path(name).name if name.startswith(("/", ".")) else name
    unfinished = f", stopped at step {state.step} of {steps}" if state.step < steps else ""
    return f"LoRA on {shown}{unfinished}"


def _draw_training(axes: "Axes", state: State) -> None:
    steps = [one.step for one in state.taken]
    losses = [one.loss for one in state.taken]
    is_long = len(steps) > 2 * _SMOOTHING_STEPS
    marker = "" if len(steps) > 60 else "."
    axes.plot(
        steps,
        losses,
        color=_BLUE,
        alpha=0.35 if is_long else 1.0,
        marker=marker,
        label="training loss of each step",
    )
    if is_long:
        axes.plot(
            steps,
            moving_average(losses),
            color=_BLUE,
            linewidth=2,
            label=f"training loss, mean of {_SMOOTHING_STEPS} steps",
        )
    axes.set_ylabel("loss, nats per trained token")


def _draw_validation(axes: "Axes", state: State) -> None:
    best = best_validation(state.validations)
    if best is not None:
        at = [one.step for one in state.validations]
        losses = [one.loss for one in state.validations]
        axes.plot(at, losses, "o-", color=_RED, label="validation loss (step 0: base)")
        axes.plot(
            [best.step],
            [best.loss],
            "*",
            color=_RED,
            markersize=16,
            clip_on=False,
            label=f"lowest validation loss: {best.loss:.4f} at step {best.step}",
        )
    if axes.lines:
        axes.legend(frameon=False)


def _draw_learning_rate(axes: "Axes", state: State) -> None:
    axes.plot([x.step for x in state.taken], [x.lr for x in state.taken], color=_GREY)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    axes.set_xlabel("optimiser step (dotted: end of an epoch)")


def _mark_epochs(axes: "Axes", state: State) -> None:
    for one, following in zip(state.taken, state.taken[1:], strict=False):
        if following.epoch != one.epoch:
            axes.axvline(one.step, color=_GREY, linewidth=0.8, linestyle=":")


def moving_average(values: list[float], over: int = _SMOOTHING_STEPS) -> list[float]:
    """The mean of the values around each one; fewer of them at both ends."""
    half = over // 2
    windows = (values[max(0, at - half) : at + half + 1] for at in range(len(values)))
    return [sum(window) / len(window) for window in windows]
