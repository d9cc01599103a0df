"""`journeyman train --watch DIR`: follow a run that another process does, until it ends."""

import time
from collections.abc import Callable
from pathlib import Path

from journeyman.cli.watch_view import one_line, view
from journeyman.console import Console
from journeyman.errors import Interrupted, JourneymanError, MachineError, UsageError
from journeyman.train.watching import RunObservation, look

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
                sight = look(folder)
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
