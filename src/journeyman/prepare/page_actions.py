"""The page's first words: what came out of the log, and what a person must do about it."""

from collections.abc import Iterator

from journeyman.events import Caution
from journeyman.pages.parts import counted
from journeyman.prepare.records import Flow, Report

CUT_OFF = "cut-off"

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
    """What to act on, each with the next step; the gravest first."""
    return [
        *_failed_checks(report),
        *_trained_errors(report),
        *_cut_offs(report),
        *_terms(report),
        *_others(report),
    ]


def _failed_checks(report: Report) -> Iterator[Caution]:
    for check in report.checks:
        if check.ok is False:
            yield Caution(f"{check.what}: {check.detail}", hint="do not train on these files")


def _trained_errors(report: Report) -> Iterator[Caution]:
    for rule in report.rules:
        used = rule.kept + rule.masked
        if rule.level == "error" and used and rule.redacted < used:
            yield Caution(
                f"{counted(used, 'row')} used that should not be: {rule.meaning} ({rule.id})",
                hint=f"`--rule {rule.id}=drop` leaves them out",
            )


def _cut_offs(report: Report) -> Iterator[Caution]:
    rule = next((rule for rule in report.rules if rule.id == CUT_OFF and rule.count), None)
    piles = [one for one in report.lengths if one.cut_off and one.cap is not None]
    capped = sum(one.cut_off for one in piles)
    hint = "raise `max_tokens` where the log is made, and log again"
    said = [f"{counted(rule.count, 'answer')} cut off"] if rule else []
    if capped:
        caps = ", ".join(dict.fromkeys(f"{one.cap:,} {one.unit}" for one in piles))
        said.append(f"{counted(capped, 'answer')} ran into a cap of {caps}")
    if rule and rule.kept:
        said.append(f"{rule.kept:,} trained as if whole")
        hint += "; `--policy salvage` does not train their end"
    if said:
        yield Caution("; ".join(said), hint=hint)


def _terms(report: Report) -> Iterator[Caution]:
    forbidden = [one for one in report.producers if one.verdict == "forbids" and one.used]
    unknown = [one for one in report.producers if one.verdict == "unknown" and one.used]
    if forbidden:
        who = ", ".join(one.models or one.producer for one in forbidden)
        rows = sum(one.used for one in forbidden)
        yield Caution(
            f"{counted(rows, 'used row')}: the maker's terms speak against such training ({who})",
            hint="whether they bind you is a lawyer's matter: ask before you train",
        )
    if unknown:
        rows = sum(one.used for one in unknown)
        yield Caution(
            f"{counted(rows, 'used row')}: nothing is known about the terms of the model's maker",
            hint="log which model answered",
        )


def _others(report: Report) -> Iterator[Caution]:
    long = sum(split.over_long for split in report.splits)
    if long:
        yield Caution(f"{counted(long, 'used row')} longer than training takes")
    if report.totals.redacted:
        yield Caution(
            f"secrets were hidden in {counted(report.totals.redacted, 'row')}",
            hint="whoever has the log has them: replace these secrets where they are valid",
        )
    contradicting = report.duplicates.contradicting
    if contradicting:
        yield Caution(
            f"{counted(contradicting, 'group')} of equal prompts with different answers",
            hint="keep the better answer of each, or expect a mixture of them",
        )
