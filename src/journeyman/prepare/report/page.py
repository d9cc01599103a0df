"""What became of a log, as one self-contained page beside the dataset: `page.html`.

Everything from the log is hostile text: the templates escape it, and the page loads and runs
nothing. Patterns and words say what colours say.
Covered: all of `Report`. Not covered: every single row; ledger.jsonl has them.
"""

from collections.abc import Sequence

from msgspec import Struct

from journeyman.data.dataset import LEDGER, METADATA
from journeyman.events import Caution
from journeyman.html.environment import render
from journeyman.prepare.records import Flow, Report, RuleExample, RuleReport
from journeyman.prepare.report.charts import ROLE_PARTS, USED, flow_chart, histograms, role_bars
from journeyman.prepare.report.excerpts import (
    ENDS,
    TextDifference,
    ending,
    marked_changes,
    shortened,
)
from journeyman.prepare.report.terminal import cautions_of

_REASONS = 4
_IDS = 4
_LINES = 20


class ExampleBox(Struct, frozen=True):
    """One example of a rule. `changes` (log, dataset) replaces `text` if the two differ.

    `is_end`: `text` is the end of an answer that was cut off, and `end_masked` says that its end of
    turn is not trained.
    """

    title: str
    text: str
    is_end: bool = False
    end_masked: bool = False
    changes: tuple[TextDifference, TextDifference] | None = None


class RuleBox(Struct, frozen=True):
    """A rule that matched, what became of its rows, and some of them."""

    rule: RuleReport
    became: str
    rows: str
    examples: tuple[ExampleBox, ...]


def page(report: Report) -> str:
    """The whole page as text."""
    return render(
        "prepare/report/page.html",
        report=report,
        outcome=outcome(report),
        sentence=sentence(report),
        actions=actions(report),
        flows=sorted(report.flows, key=_flow_order),
        flow_chart=flow_chart(report),
        histograms=histograms(report.lengths),
        rules=[_rule_box(rule) for rule in report.rules if rule.count],
        clean_rules=[rule for rule in report.rules if not rule.count],
        same_prompts=sorted(report.duplicates.examples, key=lambda one: -len(one.lines)),
        role_parts=ROLE_PARTS,
        roles=role_bars(report.roles),
        facts={
            "log": report.source.path,
            "sha256 of the log": report.source.sha256,
            "lines": f"{report.source.lines:,}",
            "policy": report.policy,
            **report.settings,
        },
        listed_lines=_listed_lines,
        shortened=shortened,
        ledger=LEDGER,
        metadata=METADATA,
    )


def outcome(report: Report) -> str:
    """`233 of 302 rows are used`."""
    used = report.totals.kept + report.totals.masked
    verb = "are" if report.splits else "would be"
    return f"{used:,} of {report.source.lines:,} rows {verb} used"


def sentence(report: Report) -> str:
    """What was done to the used rows, and why the others are left out."""
    totals = report.totals
    used = [f"{totals.kept:,} as they are"]
    if totals.masked:
        used.append(f"{totals.masked:,} without training their end")
    if totals.redacted:
        used.append(f"{totals.redacted:,} of both with secrets redacted")
    lost = totals.dropped + totals.quarantined
    if not lost:
        return f"{', '.join(used)}; none is left out."
    flows = [flow for flow in report.flows if flow.rows and flow.action not in USED]
    reasons = sorted(flows, key=lambda flow: -flow.rows)
    named = [f"{flow.reason or flow.action} {flow.rows:,}" for flow in reasons[:_REASONS]]
    more = ["others"] if len(reasons) > _REASONS else []
    return f"{', '.join(used)}; {lost:,} left out ({', '.join([*named, *more])})."


def actions(report: Report) -> list[Caution]:
    """What to act on, each with the next step: failed checks, then the terminal's warnings."""
    failed = [
        Caution(f"check failed: {check.what}: {check.detail}", hint="see the checks below")
        for check in report.checks
        if check.ok is False
    ]
    return [*failed, *cautions_of(report)]


def _flow_order(flow: Flow) -> tuple[bool, bool, int]:
    return flow.action not in USED, flow.action == "masked", -flow.rows


def _rule_box(rule: RuleReport) -> RuleBox:
    counts = {
        "kept": rule.kept,
        "end not trained": rule.masked,
        "dropped": rule.dropped,
        "quarantined": rule.quarantined,
        "with secrets redacted": rule.redacted,
    }
    more = f" and {rule.count - _IDS:,} more in {LEDGER}" if rule.count > _IDS else ""
    return RuleBox(
        rule,
        became=", ".join(f"{count:,} {word}" for word, count in counts.items() if count),
        rows=f"rows {', '.join(rule.ids[:_IDS])}{more}" if rule.ids else "",
        examples=tuple(_example_box(one, rule) for one in rule.examples),
    )


def _example_box(seen: RuleExample, rule: RuleReport) -> ExampleBox:
    title = f"line {seen.line:,}" + (f": {seen.detail}" if seen.detail else "")
    if seen.after and seen.after != seen.before:
        return ExampleBox(title, "", changes=marked_changes(seen.before, seen.after))
    where = "the same in the dataset" if seen.after else "not in the dataset"
    title = f"{title} ({where})"
    if rule.id in ENDS:
        is_masked = rule.masked > 0 and bool(seen.after)
        return ExampleBox(title, ending(seen.before), is_end=True, end_masked=is_masked)
    return ExampleBox(title, shortened(seen.before) if seen.before.strip() else "")


def _listed_lines(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - _LINES:,} more" if len(lines) > _LINES else ""
    return ", ".join(f"{line:,}" for line in lines[:_LINES]) + more
