"""Events as plain lines of text: the same words on a terminal, in a pipe and in a log file.

Numbers as they are shown: on the console, on the page and in the verdict alike.
"""

from collections.abc import Sequence

from journeyman.events import Caution, Event, Note, Progress, ProgressEnded, StageStarted, Table
from journeyman.records import Interval


def plain_lines(event: Event) -> list[str]:
    """What one event says without colour or bars; empty where it says nothing."""
    match event:
        case Progress():
            return [f"   {progress_line(event)}"]
        case ProgressEnded(summary=summary):
            return [f"   {summary}"] if summary else []
        case StageStarted(name=name, detail=detail):
            return [f"== {name}" + (f": {detail}" if detail else "")]
        case Note(text=text):
            return [f"   {text}"]
        case Caution(text=text, hint=hint):
            return [f"warning: {text}", *([f"hint: {hint}"] if hint else [])]
        case Table():
            return in_columns(event).splitlines()


def progress_line(event: Progress) -> str:
    """`train 120/360 steps  loss 1.284  312 tok/s  eta 41 min`."""
    done = f"{event.done:g}" if event.total is None else f"{event.done:g}/{event.total:g}"
    parts = [f"{event.task} {done} {event.unit}".rstrip(), event.detail]
    if event.remaining_s is not None:
        parts.append(f"eta {duration(event.remaining_s)}")
    return "  ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def in_columns(table: Table) -> str:
    """A table as text: a title, a header, and columns as wide as their widest cell."""
    rows = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = [_cells(row, widths) for row in rows]
    rule = "  ".join("-" * width for width in widths)
    title = [table.title] if table.title else []
    return "\n".join([*title, lines[0], rule, *lines[1:]])


def _cells(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


NOT_MEASURED = "not measured"


def percent(share: float) -> str:
    """`90.8 %` of a share 0..1. It never rounds up to 100 % or down to 0 %."""
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        text = f"{100 * share:.2f}" if share < 0.99995 else "99.99"
    return f"{text.removesuffix('.0')} %"


def points(difference: float) -> str:
    """`+3.2 pp` of a difference of shares -1..1."""
    return f"{100 * difference:+.1f} pp"


def rate(interval: Interval | None) -> str:
    """`15/31  48.4 % (32.0 to 65.2)`; what was not measured says so."""
    if interval is None:
        return NOT_MEASURED
    low, high = 100 * interval.low, 100 * interval.high
    counts = f"{interval.k}/{interval.n}"
    return f"{counts}  {percent(interval.share)} ({low:.1f} to {high:.1f})"


def seconds(value: float | None) -> str:
    """`1.23 s`, `45.6 s`."""
    return NOT_MEASURED if value is None else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def mebibytes(value: int | None) -> str:
    """`612 MiB`, `9.21 GiB`."""
    if value is None:
        return NOT_MEASURED
    return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def gib(size_bytes: float) -> str:
    """`3.2 GiB`, and MiB below a tenth."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes > 1e8 else f"{size_bytes / 2**20:.0f} MiB"


def count(number: int) -> str:
    """`7.6 G`, `134.5 M`."""
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.2f} M"
