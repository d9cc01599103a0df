"""`losses.png`: how a run went, on one picture."""

from pathlib import Path
from typing import TYPE_CHECKING

from journeyman.train.monitor.loss_warnings import advice_on, best_validation
from journeyman.train.state import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _RED, _GREY = "#4477aa", "#cc3311", "#777777"
_SMOOTHED_OVER = 9


def draw_losses(path: Path, state: State, *, steps: int) -> None:
    """Losses over learning rate by step. steps: all of the run; fewer taken is an interrupted one.

    Marked: the lowest validation loss, the ends of epochs, and what the losses give as advice.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rate = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_training(losses, state)
    _draw_validation(losses, state)
    rate.plot([x.step for x in state.taken], [x.lr for x in state.taken], color=_GREY)
    rate.set_ylim(bottom=0)
    rate.set_ylabel("learning rate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    rate.set_xlabel("optimiser step (dotted: end of an epoch)")
    # Of a run that was stopped early, as much again as was done: the rest would be empty paper.
    shown = min(steps, max(2 * state.step, 10))
    rate.set_xlim(-0.01 * shown, 1.01 * shown)
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, rate):
        _mark_epochs(axes, state)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(state, steps), fontsize=13)
    advice = "\n".join(one.text for one in advice_on(state))
    losses.set_title(advice, fontsize=10, color=_RED, loc="left")
    temporary = path.with_name(f".tmp-{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)


def _title(state: State, steps: int) -> str:
    name = state.identity.base_name
    # A folder is named by its end: the whole path would not fit.
    shown = Path(name).name if name.startswith(("/", ".")) else name
    unfinished = f", stopped at step {state.step} of {steps}" if state.step < steps else ""
    return f"LoRA on {shown}{unfinished}"


def _draw_training(axes: "Axes", state: State) -> None:
    steps = [one.step for one in state.taken]
    losses = [one.loss for one in state.taken]
    is_long = len(steps) > 2 * _SMOOTHED_OVER
    marker = "" if len(steps) > 60 else "."
    axes.plot(
        steps,
        losses,
        color=_BLUE,
        alpha=0.35 if is_long else 1.0,
        marker=marker,
        label="training, each step",
    )
    if is_long:
        axes.plot(
            steps,
            smoothed(losses),
            color=_BLUE,
            linewidth=2,
            label=f"training, mean of up to {_SMOOTHED_OVER} steps around",
        )
    axes.set_ylabel("loss, nats per trained token")


def _draw_validation(axes: "Axes", state: State) -> None:
    best = best_validation(state.validations)
    if best is not None:
        at = [one.step for one in state.validations]
        losses = [one.loss for one in state.validations]
        axes.plot(at, losses, "o-", color=_RED, label="validation (step 0: base)")
        axes.plot(
            [best.step],
            [best.loss],
            "*",
            color=_RED,
            markersize=16,
            clip_on=False,
            label=f"lowest validation: {best.loss:.4f} at step {best.step}",
        )
    if axes.lines:
        axes.legend(frameon=False)


def _mark_epochs(axes: "Axes", state: State) -> None:
    for one, following in zip(state.taken, state.taken[1:], strict=False):
        if following.epoch != one.epoch:
            axes.axvline(one.step, color=_GREY, linewidth=0.8, linestyle=":")


def smoothed(values: list[float], over: int = _SMOOTHED_OVER) -> list[float]:
    """Means of the values around each place, fewer at both ends."""
    half = over // 2
    windows = (values[max(0, at - half) : at + half + 1] for at in range(len(values)))
    return [sum(window) / len(window) for window in windows]
