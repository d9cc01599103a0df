"""The page's first words: what came out of the log, and what a person must do about it."""

from collections.abc import Iterator

from journeyman.events import Caution
from journeyman.prepare.records import Flow, Report
from journeyman.prepare.report.terminal import cautions_of

_NAMED = 4


def what_came_out(report: Report) -> str:
    """`233 of 302 rows are used`."""
    used = report.totals.kept + report.totals.masked
    word = "are" if report.splits else "would be"
    return f"{used:,} of {report.source.lines:,} rows {word} used"


def sentence(report: Report) -> str:
    """What was done to the used rows, and why the others are left out."""
    totals = report.totals
    used = [f"{totals.kept:,} as they are"]
    if totals.masked:
        used.append(f"{totals.masked:,} whose end is not trained")
    if totals.redacted:
        used.append(f"{totals.redacted:,} of both with secrets hidden")
    lost = totals.dropped + totals.quarantined
    if not lost:
        return f"{', '.join(used)}; none is left out."
    reasons = sorted(_left_out(report.flows), key=lambda flow: -flow.rows)
    named = [f"{flow.reason or flow.action} {flow.rows:,}" for flow in reasons[:_NAMED]]
    more = ["others"] if len(reasons) > _NAMED else []
    return f"{', '.join(used)}; {lost:,} left out ({', '.join([*named, *more])})."


def _left_out(flows: tuple[Flow, ...]) -> Iterator[Flow]:
    return (flow for flow in flows if flow.rows and flow.action in ("dropped", "quarantined"))


def actions(report: Report) -> list[Caution]:
    """What to act on, each with the next step: failed checks, then what the terminal says too."""
    failed = [
        Caution(f"{check.what}: no, {check.detail}", hint="see what was checked, below")
        for check in report.checks
        if check.ok is False
    ]
    return [*failed, *cautions_of(report)]
