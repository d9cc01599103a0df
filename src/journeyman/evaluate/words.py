"""Numbers as they are shown: on the console, on the page and in the verdict alike."""

from journeyman.records import Interval

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
