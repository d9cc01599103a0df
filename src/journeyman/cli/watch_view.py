"""A run as its watcher sees it: a page for a terminal, one line for a pipe."""

import datetime
import itertools
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from journeyman.lines import duration
from journeyman.train.status import Status
from journeyman.train.watching import RunObservation

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
