"""The only module that prints: data to stdout, everything else to stderr.

On a terminal it shows a bar for each running task; elsewhere (nohup, a pipe, CI) plain lines that
`tail -f` can follow, at most one per task every few seconds. `NO_COLOR` is respected, and colour
alone never carries a meaning.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from journeyman.errors import JourneymanError
from journeyman.events import (
    Caution,
    Event,
    Note,
    Progress,
    ProgressEnded,
    StageStarted,
    Table,
)
from journeyman.formatting import in_columns, plain_lines, progress_line

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.live import Live
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 5.0


class Console:
    """Prints events. Use it as a context manager, so that progress bars are removed at the end."""

    def __init__(self, *, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._interactive = self._err.isatty()
        self._bars: _Bars | None = None
        self._last_line: dict[str, float] = {}

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bars()

    def report(self, event: Event) -> None:
        """Show one event. This is the `Reporter` of every command."""
        match event:
            case Progress():
                self._progress(event)
            case ProgressEnded(task=task, summary=summary):
                self._ended(task, summary)
            case StageStarted():
                self._end_bars()
                self._line("\n" + plain_lines(event)[0], style="bold")
            case Caution():
                first, *rest = plain_lines(event)
                self._line(first, style="yellow")
                for line in rest:
                    self._line(line)
            case Note() | Table():
                for line in plain_lines(event):
                    self._line(line)

    def error(self, error: JourneymanError) -> None:
        """Print the error, and the hint on a second line."""
        self._end_bars()
        self._line(f"error: {error.message}", style="bold red")
        if error.hint:
            self._line(f"hint: {error.hint}")

    def data(self, text: str) -> None:
        """Print the command's result to stdout."""
        self._end_bars()
        self._out.write(text.rstrip("\n") + "\n")
        self._out.flush()

    @contextlib.contextmanager
    def live(self) -> Iterator["Live | None"]:
        """A view on stdout that is redrawn in place; None if stdout is not a terminal."""
        if not self._out.isatty():
            yield None
            return
        from rich.live import Live

        with Live(console=_rich_console(self._out), auto_refresh=False) as view:
            yield view

    def table(self, table: Table) -> None:
        """Print a table to stdout."""
        self.data(in_columns(table))

    def _progress(self, event: Progress) -> None:
        if self._interactive:
            if self._bars is None:
                self._bars = _Bars(self._err)
            self._bars.show(event)
            return
        now = time.monotonic()
        last = self._last_line.get(event.task)
        complete = event.total is not None and event.done >= event.total
        if last is None or complete or now - last >= SECONDS_BETWEEN_LINES:
            self._last_line[event.task] = now
            self._line(f"   {progress_line(event)}")

    def _ended(self, task: str, summary: str) -> None:
        self._last_line.pop(task, None)
        if self._bars is not None:
            self._bars.end(task)
            if self._bars.empty:
                self._end_bars()
        if summary:
            self._line(f"   {summary}")

    def _line(self, text: str, *, style: str = "") -> None:
        if self._bars is not None:
            self._bars.line(text, style)
        elif self._interactive:
            _rich_console(self._err).print(text, style=style or None, markup=False, highlight=False)
        else:
            self._err.write(text + "\n")
            self._err.flush()

    def _end_bars(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class _Bars:
    """One progress bar per running task, below the lines already printed."""

    def __init__(self, stream: TextIO) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = _rich_console(stream)
        self._bars: RichProgress = Bars(
            TextColumn("   {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[line]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._ids: dict[str, TaskID] = {}
        self._bars.start()

    @property
    def empty(self) -> bool:
        return not self._ids

    def show(self, event: Progress) -> None:
        line = progress_line(event).removeprefix(event.task).strip()
        if event.task not in self._ids:
            self._ids[event.task] = self._bars.add_task(event.task, total=event.total, line=line)
        self._bars.update(self._ids[event.task], completed=event.done, total=event.total, line=line)

    def end(self, task: str) -> None:
        if task in self._ids:
            self._bars.remove_task(self._ids.pop(task))

    def line(self, text: str, style: str) -> None:
        self._console.print(text, style=style or None, markup=False, highlight=False)

    def stop(self) -> None:
        self._bars.stop()


def _rich_console(stream: TextIO) -> "RichConsole":
    """A rich console that wraps long lines and respects `NO_COLOR`."""
    from rich.console import Console as Rich

    return Rich(file=stream, soft_wrap=True)
