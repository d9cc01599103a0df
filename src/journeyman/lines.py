"""Events as plain lines of text: the same words on a terminal, in a pipe and in a log file."""

from collections.abc import Sequence

from journeyman.events import Caution, Event, Note, Progress, ProgressEnded, StageStarted, Table


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
