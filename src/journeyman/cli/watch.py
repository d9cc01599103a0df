"""`journeyman train --watch DIR`: follow a run that another process does, until it ends.

A run as its watcher sees it: a page for a terminal, one line for a pipe.
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


def watch(folder: Path, console: Console, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Show the run in a folder until it is over. Ctrl-C leaves the run alone.

    Raises, with the run's own reason: Interrupted (it was stopped), MachineError (failed, dead).
    """
    if not folder.is_dir():
        raise UsageError(f"`{folder}` is not a folder", hint="name a run's --output-dir")
    lines = _Lines(console)
    try:
        with console.live() as live:
            while True:
                sight = observe_run(folder)
                if live is None:
                    lines.show(sight)
                else:
                    live.update(view(folder, sight), refresh=True)
                if sight.verdict in ("over", "dead"):
                    break
                pause(_SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        console.data("no longer watching; the run goes on")
        return
    _end(sight, folder)


def _end(sight: RunObservation, folder: Path) -> None:
    """As the run ended, so ends whoever waited for it."""
    state = sight.status.state if sight.status else None
    kind: type[JourneymanError]
    if sight.verdict == "dead":
        kind, what, hint = MachineError, "the run is dead", "run its command again to go on"
    elif state == "stopped":
        kind, what, hint = Interrupted, "the run was stopped", "run its command again to go on"
    elif state == "failed":
        kind, what, hint = MachineError, "the run failed", f"see `{folder / 'train.log'}`"
    else:
        return
    raise kind(f"{what}: {sight.why}", hint=hint)


class _Lines:
    """The run in plain lines, where there is no terminal: what changed, as it changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: tuple[object, ...] = ()
        self._shown_at = 0.0
        self._log: tuple[str, ...] = ()

    def show(self, sight: RunObservation) -> None:
        """The status where a step or the state of the run changed, and the log's findings."""
        for line in _new(self._log, sight.log):
            if line.partition("  ")[2].startswith(_FINDINGS):
                self._console.data(line)
        self._log = sight.log
        status = sight.status
        kind = (sight.verdict, status.state if status else None)
        place = (*kind, status.step if status else None)
        now = time.monotonic()
        is_due = now - self._shown_at >= _SECONDS_BETWEEN_LINES
        if self._shown[:2] != kind or (place != self._shown and is_due):
            self._console.data(one_line(sight))
            self._shown, self._shown_at = place, now


def _new(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    """The last lines that were not among the last lines before."""
    for at in range(len(now), 0, -1):
        if before[-at:] == now[:at]:
            return now[at:]
    return now


_BLOCKS = "▁▂▃▄▅▆▇█"

_CURVE_WIDTH = 40

_STYLES = {"stalled": "bold yellow", "suspended": "bold yellow", "dead": "bold red"}


def view(folder: Path, sight: RunObservation) -> RenderableType:
    """The whole page; it tells everything in words, colour only helps to find it."""
    parts: list[RenderableType] = [Rule(str(folder), align="left", style="dim")]
    parts.append(Text(headline(sight), style=_STYLES.get(sight.verdict, "bold")))
    if sight.status is not None:
        parts += [_bar(sight), _facts(sight)]
    for one in sight.advice:
        parts.append(Text(f"warning: {one.text}", style="yellow"))
        parts.append(Text(f"hint: {one.hint}"))
    if sight.log:
        parts.append(Rule("train.log", align="left", style="dim"))
        parts += [Text(line, overflow="ellipsis", no_wrap=True, style="dim") for line in sight.log]
    return Group(*parts)


def headline(sight: RunObservation) -> str:
    """`training  step 12/57  micro-batch 3/8  epoch 1`, or what is wrong."""
    if sight.status is None:
        return sight.why
    status = sight.status
    if sight.verdict in ("running", "over"):
        parts = [status.state, *_place(status), sight.why if sight.why != status.state else ""]
    else:
        parts = [sight.verdict.upper(), sight.why, *_place(status)]
    return "  ".join(part for part in parts if part)


def one_line(sight: RunObservation) -> str:
    """The same with the figures, on one line."""
    if sight.status is None:
        return sight.why
    status = sight.status
    figures = [f"{name} {value}" for name, value in _figures(status) if name in _IN_A_LINE]
    eta_s = _eta_s(sight)
    eta = [f"eta {duration(eta_s)}"] if eta_s else []
    return "  ".join([headline(sight), *figures, *eta])


_IN_A_LINE = ("loss", "validation", "speed", "memory")


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


def _bar(sight: RunObservation) -> RenderableType:
    status = sight.status
    if status is None or not status.tokens_total or status.tokens_done is None:
        return Text("")
    share = status.tokens_done / status.tokens_total
    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=1.0, completed=share, width=_CURVE_WIDTH)
    grid.add_row(bar, f"{share:.0%}", _time_left(sight))
    return Padding(grid, (1, 0))


def _time_left(sight: RunObservation) -> str:
    eta_s = _eta_s(sight)
    if not eta_s:
        return ""
    moment = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=eta_s)
    return f"{duration(eta_s)} left, until about {moment:%a %H:%M}"


def _eta_s(sight: RunObservation) -> float | None:
    """The run's own estimate, while there is still something to wait for."""
    is_over = sight.verdict in ("dead", "over")
    return None if is_over or sight.status is None else sight.status.eta_s


def _facts(sight: RunObservation) -> RenderableType:
    status = sight.status
    assert status is not None
    curves = {"loss": curve(sight.losses)}
    grid = Table.grid(padding=(0, 2))
    for name, value in _figures(status):
        grid.add_row(Text(name, style="dim"), value, curves.get(name, ""))
    if sight.silent_s is not None and sight.verdict != "over":
        grid.add_row(Text("sign of life", style="dim"), f"{duration(sight.silent_s)} ago")
    processes = f", {status.process_count} processes" if status.process_count > 1 else ""
    grid.add_row(Text("process", style="dim"), f"{status.pid}{processes}")
    return Padding(grid, (0, 0, 1, 0))


def _figures(status: Status) -> list[tuple[str, str]]:
    """Name and value of all that is known."""
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
        figures.append(("speed", f"{status.tokens_per_s:.0f} tok/s{limit}"))
    if status.rss_bytes is not None:
        figures.append(("memory", f"{status.rss_bytes / 2**30:.1f} GiB"))
    return figures


def curve(losses: tuple[float, ...], width: int = _CURVE_WIDTH) -> str:
    """Losses as a row of blocks, the first to the last; means where there are more than places."""
    if len(losses) < 2:
        return ""
    places = min(width, len(losses))
    edges = [len(losses) * at // places for at in range(places + 1)]
    means = [sum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(edges) if b > a]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)
