"""What became of a log, as one self-contained page beside the dataset.

Everything in it that comes from the log is hostile text: all is escaped, and the page loads and
runs nothing (its own policy forbids it). It says with words and patterns what it says with colour.
Covered: what `Report` holds. Not covered: every row; those stand in ledger.jsonl.
"""

from journeyman.events import Caution
from journeyman.html.markup import Html, coded, counted, document, element, list_section
from journeyman.html.style import STYLE
from journeyman.prepare.records import Report
from journeyman.prepare.report.charts import flow
from journeyman.prepare.report.page_actions import actions, sentence, what_came_out
from journeyman.prepare.report.page_duplicates import duplicates
from journeyman.prepare.report.page_faults import faults
from journeyman.prepare.report.page_lengths import lengths
from journeyman.prepare.report.page_origin import origin
from journeyman.prepare.report.page_patterns import patterns
from journeyman.prepare.report.page_splits import checks, roles, splits
from journeyman.prepare.report.page_style import STYLE as OWN_STYLE
from journeyman.prepare.report.page_terms import producers


def page(report: Report) -> str:
    """The whole page as text."""
    parts = [
        patterns(),
        _banner(report),
        flow(report),
        lengths(report.lengths),
        faults(report.rules),
        duplicates(report.duplicates),
        roles(report.roles),
        splits(report.splits),
        checks(report.checks),
        producers(report),
        list_section("What was not looked at", report.unknown),
        *origin(report),
    ]
    title = f"{what_came_out(report)}: {report.source.path}"
    return document(title, STYLE + OWN_STYLE, element("main", *parts))


def _banner(report: Report) -> Html:
    todo = actions(report)
    parts = [
        element("h1", "What became of the log"),
        element("strong", _headline(report, len(todo))),
        element("p", sentence(report)),
    ]
    if todo:
        parts.append(element("p", element("b", "To act on:")))
        parts.append(element("ul", *map(_action, todo)))
    else:
        parts.append(element("p", element("b", "Nothing was found that must be acted on.")))
    where = f"{report.source.path}, policy {report.policy}"
    parts.append(element("p", where, class_="soft wraps"))
    return element("section", *parts, class_="banner act" if todo else "banner")


def _headline(report: Report, todo: int) -> str:
    things = f", {counted(todo, 'thing')} to act on" if todo else ""
    return what_came_out(report) + things


def _action(action: Caution) -> Html:
    hint = [element("span", coded(action.hint), class_="soft hint")] if action.hint else []
    return element("li", coded(action.text), *hint)
