"""Text for people: numbers, tables and events, in the same form on the console, page and log."""

from collections.abc import Sequence

from journeyman.events import Caution, Event, Note, Progress, ProgressEnded, StageStarted, Table
from journeyman.records import Interval

NOT_MEASURED = "not measured"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def seconds(value: float | None) -> str:
    """`1.23 s`, `45.6 s`: a measured time, to three digits."""
    return NOT_MEASURED if value is None else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def byte_size(size_bytes: float | None) -> str:
    """`612 MiB`, `9.21 GiB`, `23.5 GiB`."""
    if size_bytes is None:
        return NOT_MEASURED
    gib = size_bytes / 2**30
    if gib < 1:
        return f"{size_bytes / 2**20:.0f} MiB"
    return f"{gib:.2f} GiB" if gib < 10 else f"{gib:.1f} GiB"


def count(number: int) -> str:
    """`7.62 G`, `134.52 M`: how many parameters a model has."""
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.2f} M"


def percent(share: float) -> str:
    """`90.8 %` of a share 0..1. Never rounded up to 100 %."""
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        text = f"{100 * share:.2f}" if share < 0.99995 else "99.99"
    return f"{text.removesuffix('.0')} %"


def points(difference: float) -> str:
    """`+3.2 pp` of a difference of shares -1..1."""
    return f"{100 * difference:+.1f} pp"


def rate(interval: Interval | None) -> str:
    """`15/31  48.4 % (32.0 to 65.2)`, or that it was not measured."""
    if interval is None:
        return NOT_MEASURED
    low, high = 100 * interval.low, 100 * interval.high
    counts = f"{interval.k}/{interval.n}"
    return f"{counts}  {percent(interval.share)} ({low:.1f} to {high:.1f})"


def plain_lines(event: Event) -> list[str]:
    """An event as lines of text, without colour or bars; empty if it has nothing to say."""
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


def in_columns(table: Table) -> str:
    """A table as text: title, header, and columns as wide as their widest cell."""
    rows = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = [_cells(row, widths) for row in rows]
    rule = "  ".join("-" * width for width in widths)
    title = [table.title] if table.title else []
    return "\n".join([*title, lines[0], rule, *lines[1:]])


def _cells(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()
