"""Who answered, and what the makers say about training on that: flagged, never judged."""

from journeyman.html.markup import Html, card, coded, counted, element, rows_table, section
from journeyman.prepare.records import ProducerReport, Report

_KINDS = {"forbids": "error", "conditions": "warning", "unknown": "warning", "permits": "good"}


def producers(report: Report) -> Html:
    """One row a producer. Sources are shown as text: the page leads nowhere."""
    if not report.producers:
        return Html()
    table = rows_table(
        ("producer", "rows", "terms", "what they say"), map(_producer, report.producers)
    )
    left = (
        f"{report.usable:,} rows are whole, {report.permitted:,} come from a model whose maker"
        f" permits such training, {report.both:,} are both."
    )
    flagged = "Whether a term binds you is a lawyer's matter; this table only shows it."
    return section(
        "Who answered, and their makers' terms",
        element("p", left),
        element("p", flagged, class_="soft"),
        card(table, kind="terms"),
    )


def _producer(one: ProducerReport) -> Html:
    says = [one.says]
    if one.models:
        says.insert(0, f"{one.models}: ")
    source = [element("span", one.source, class_="soft hint")] if one.source else []
    verdict = element("span", one.verdict, class_=f"state {_KINDS.get(one.verdict, 'soft')}")
    return element(
        "tr",
        element("th", one.producer or "not named", scope="row", class_="wraps"),
        element("td", f"{counted(one.rows, 'row')}, {one.used:,} used"),
        element("td", verdict),
        element("td", *map(coded, says), *source, class_="wraps"),
    )
