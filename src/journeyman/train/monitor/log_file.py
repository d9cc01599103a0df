"""`train.log`: everything a run reports, with the time in UTC, kept in its output folder.

Not covered: what other libraries print.
"""

import datetime
import time
from pathlib import Path

from journeyman.errors import JourneymanError
from journeyman.events import Caution, Event, Progress, ProgressEnded, Reporter
from journeyman.formatting import plain_lines

LOG = "train.log"
SECONDS_BETWEEN_LINES = 30.0
_TAIL_BYTES = 16 * 1024


class LogFile:
    """A reporter that writes each event to the log before it passes it on.

    If the log cannot be written, it warns once and the run goes on without a log.
    """

    def __init__(self, folder: Path, report: Reporter) -> None:
        self._path = folder / LOG
        self._pass_on = report
        self._has_failed = False
        self._last_progress: dict[str, float] = {}

    def report(self, event: Event) -> None:
        """Write and pass on one event; progress is written only now and then."""
        if not isinstance(event, Progress) or self._is_due(event):
            self._write(plain_lines(event))
        if isinstance(event, ProgressEnded):
            self._last_progress.pop(event.task, None)
        self._pass_on(event)

    def failed(self, error: JourneymanError) -> None:
        """Write the error that ends the run; the console shows it on its own."""
        self._write([f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])])

    def _is_due(self, event: Progress) -> bool:
        """Whether enough time has passed since the task's last line, or since it began."""
        now = time.monotonic()
        since = self._last_progress.setdefault(event.task, now)
        if now - since < SECONDS_BETWEEN_LINES:
            return False
        self._last_progress[event.task] = now
        return True

    def _write(self, lines: list[str]) -> None:
        if self._has_failed:
            return
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        text = "".join(f"{moment}  {line.strip()}\n" for line in lines)
        try:
            # Opened each time, because `--fresh` moves the earlier run's log away meanwhile.
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            self._has_failed = True
            self._pass_on(Caution(f"cannot write `{self._path}`: {error.strerror or error}"))


def last_lines(folder: Path, count: int) -> tuple[str, ...]:
    """The last lines of a run's log, oldest first; none if there is no log."""
    try:
        with (folder / LOG).open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ()
    return tuple(text.split("\n")[:-1][-count:]) if count else ()
