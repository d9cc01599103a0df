"""`journeyman train --watch DIR`: show the progress of a run in another process until it ends.

A terminal shows a page that is redrawn; a pipe gets one line per change.
"""

import datetime
import itertools
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from journeyman.console import Console
from journeyman.errors import Interrupted, JourneymanError, MachineError, UsageError
from journeyman.formatting import duration
from journeyman.train.monitor.status import Status
from journeyman.train.watch import RunObservation, observe_run

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_LINES = 30.0
_FINDINGS = ("warning: ", "hint: ", "error: ")
_IN_A_LINE = ("loss", "validation", "throughput", "memory")
_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 40
_STYLES = {"stalled": "bold yellow", "suspended": "bold yellow", "dead": "bold red"}


def watch(folder: Path, console: Console, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Show the run in a folder until it ends. Ctrl-C stops watching, not the run.

    Raises, with the reason that the run recorded, Interrupted (it was stopped) or MachineError
    (it failed or died).
    """
    if not folder.is_dir():
        raise UsageError(f"`{folder}` is not a folder", hint="give the `--output-dir` of a run")
    lines = _Lines(console)
    try:
        with console.live() as live:
            while True:
                run = observe_run(folder)
                if live is None:
                    lines.show(run)
                else:
                    live.update(view(folder, run), refresh=True)
                if run.verdict in ("over", "dead"):
                    break
                pause(_SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        console.data("stopped watching; the run continues")
        return
    _raise_if_not_finished(run, folder)


def _raise_if_not_finished(run: RunObservation, folder: Path) -> None:
    """Raise the error that matches how the run ended, unless it finished."""
    state = run.status.state if run.status else None
    kind: type[JourneymanError]
    if run.verdict == "dead":
        kind, what, hint = MachineError, "the run died", "run its command again to continue"
    elif state == "stopped":
        kind, what, hint = Interrupted, "the run was stopped", "run its command again to continue"
    elif state == "failed":
        kind, what, hint = MachineError, "the run failed", f"see `{folder / 'train.log'}`"
    else:
        return
    raise kind(f"{what}: {run.why}", hint=hint)


class _Lines:
    """Plain lines for a pipe: every change of the run, as it happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: tuple[object, ...] = ()
        self._shown_at = 0.0
        self._log: tuple[str, ...] = ()

    def show(self, run: RunObservation) -> None:
        """Print new warnings of the log, and the status if the step or the state changed."""
        for line in _new(self._log, run.log):
            if line.partition("  ")[2].startswith(_FINDINGS):
                self._console.data(line)
        self._log = run.log
        status = run.status
        state = (run.verdict, status.state if status else None)
        state_and_step = (*state, status.step if status else None)
        now = time.monotonic()
        is_due = now - self._shown_at >= _SECONDS_BETWEEN_LINES
        if self._shown[:2] != state or (state_and_step != self._shown and is_due):
            self._console.data(one_line(run))
            self._shown, self._shown_at = state_and_step, now


def _new(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    """The lines of `now` that follow the end of `before`."""
    for at in range(len(now), 0, -1):
        if before[-at:] == now[:at]:
            return now[at:]
    return now


def view(folder: Path, run: RunObservation) -> RenderableType:
    """The whole page. Everything is in words; colour only helps to find it."""
    parts: list[RenderableType] = [Rule(str(folder), align="left", style="dim")]
    parts.append(Text(headline(run), style=_STYLES.get(run.verdict, "bold")))
    if run.status is not None:
        parts += [_bar(run), _facts(run)]
    for one in run.advice:
        parts.append(Text(f"warning: {one.text}", style="yellow"))
        parts.append(Text(f"hint: {one.hint}"))
    if run.log:
        parts.append(Rule("train.log", align="left", style="dim"))
        parts += [Text(line, overflow="ellipsis", no_wrap=True, style="dim") for line in run.log]
    return Group(*parts)


def headline(run: RunObservation) -> str:
    """`training  step 12/57  micro-batch 3/8  epoch 1`, or the problem."""
    if run.status is None:
        return run.why
    status = run.status
    if run.verdict in ("running", "over"):
        parts = [status.state, *_place(status), run.why if run.why != status.state else ""]
    else:
        parts = [run.verdict.upper(), run.why, *_place(status)]
    return "  ".join(part for part in parts if part)


def one_line(run: RunObservation) -> str:
    """The headline and the most important figures on one line."""
    if run.status is None:
        return run.why
    status = run.status
    figures = [f"{name} {value}" for name, value in _figures(status) if name in _IN_A_LINE]
    eta_s = _eta_s(run)
    eta = [f"eta {duration(eta_s)}"] if eta_s else []
    return "  ".join([headline(run), *figures, *eta])


def _place(status: Status) -> list[str]:
    parts = []
    if status.step is not None:
        parts.append(f"step {_of(status.step, status.steps)}")
    if status.micro_batch and status.state == "training":
        parts.append(f"micro-batch {_of(status.micro_batch, status.micro_batches)}")
    if status.epoch is not None:
        parts.append(f"epoch {status.epoch + 1}")
    return parts


def _of(done: int, total: int | None) -> str:
    return f"{done}" if total is None else f"{done}/{total}"


def _bar(run: RunObservation) -> RenderableType:
    status = run.status
    if status is None or not status.tokens_total or status.tokens_done is None:
        return Text("")
    share = status.tokens_done / status.tokens_total
    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=1.0, completed=share, width=_CURVE_WIDTH)
    grid.add_row(bar, f"{share:.0%}", _time_left(run))
    return Padding(grid, (1, 0))


def _time_left(run: RunObservation) -> str:
    eta_s = _eta_s(run)
    if not eta_s:
        return ""
    moment = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=eta_s)
    return f"{duration(eta_s)} left, until about {moment:%a %H:%M}"


def _eta_s(run: RunObservation) -> float | None:
    """The run's own estimate, or None once it has ended."""
    is_over = run.verdict in ("dead", "over")
    return None if is_over or run.status is None else run.status.eta_s


def _facts(run: RunObservation) -> RenderableType:
    status = run.status
    assert status is not None
    curves = {"loss": curve(run.losses)}
    grid = Table.grid(padding=(0, 2))
    for name, value in _figures(status):
        grid.add_row(Text(name, style="dim"), value, curves.get(name, ""))
    if run.silent_s is not None and run.verdict != "over":
        grid.add_row(Text("last heartbeat", style="dim"), f"{duration(run.silent_s)} ago")
    processes = f", {status.process_count} processes" if status.process_count > 1 else ""
    grid.add_row(Text("process", style="dim"), f"{status.pid}{processes}")
    return Padding(grid, (0, 0, 1, 0))


def _figures(status: Status) -> list[tuple[str, str]]:
    """Name and value of every known figure."""
    figures = []
    if status.loss is not None:
        figures.append(("loss", f"{status.loss:.4f}"))
    if status.validation_loss is not None:
        figures.append(("validation", f"{status.validation_loss:.4f}"))
    if status.learning_rate is not None:
        figures.append(("learning rate", f"{status.learning_rate:.2e}"))
    if status.tokens_per_s is not None:
        share = status.limit_share
        limit = "" if share is None else f", {share:.0%} of this machine's limit"
        figures.append(("throughput", f"{status.tokens_per_s:.0f} tok/s{limit}"))
    if status.rss_bytes is not None:
        figures.append(("memory", f"{status.rss_bytes / 2**30:.1f} GiB"))
    return figures


def curve(losses: tuple[float, ...], width: int = _CURVE_WIDTH) -> str:
    """Losses as a row of blocks, oldest first; each block is the mean of its losses."""
    if len(losses) < 2:
        return ""
    blocks = min(width, len(losses))
    edges = [len(losses) * at // blocks for at in range(blocks + 1)]
    means = [sum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(edges) if b > a]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)
