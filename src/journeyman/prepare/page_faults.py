"""Every fault that was found: how grave, how often, what was done, and what it looks like."""

from collections.abc import Iterator, Sequence

from journeyman.pages.markup import Html, element
from journeyman.pages.parts import section
from journeyman.prepare import page_excerpts
from journeyman.prepare.page_actions import CUTS
from journeyman.prepare.records import RuleReport

_IDS = 8


def faults(rules: Sequence[RuleReport]) -> Html:
    """One fold-out a rule that matched, in the report's order; the others in one list."""
    found = [rule for rule in rules if rule.count]
    clean = [rule for rule in rules if not rule.count]
    intro = "A row may have several. Open one to see examples." if found else "None was found."
    return section(
        "What was found in the rows",
        element("p", intro, class_="soft"),
        *(_fault(rule) for rule in found),
        *([_clean(clean)] if clean else []),
    )


def _fault(rule: RuleReport) -> Html:
    head = element(
        "summary",
        element("span", rule.level, class_=f"tag {rule.level}"),
        element("b", f"{rule.count:,}"),
        f" {rule.meaning}",
        element("span", f"{rule.id}; {_done(rule)}", class_="marks"),
    )
    return element("details", head, *_examples(rule), _rows(rule))


def _done(rule: RuleReport) -> str:
    counts = {
        "kept": rule.kept,
        "end not trained": rule.masked,
        "dropped": rule.dropped,
        "quarantined": rule.quarantined,
        "with secrets hidden": rule.redacted,
    }
    done = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    return f"what the policy does: {rule.does}; became: {done}"


def _rows(rule: RuleReport) -> Html:
    if not rule.ids:
        return Html()
    shown = ", ".join(rule.ids[:_IDS])
    more = f" and {rule.count - _IDS:,} more in ledger.jsonl" if rule.count > _IDS else ""
    return element("p", f"rows {shown}{more}", class_="soft wraps inset")


def _examples(rule: RuleReport) -> Iterator[Html]:
    for one in rule.examples:
        cut = rule.id in CUTS
        masked = cut and rule.masked > 0 and bool(one.after)
        title = f"line {one.line:,}" + (f": {one.detail}" if one.detail else "")
        yield element(
            "div",
            element("h3", title, class_="wide wraps"),
            _side("in the log", page_excerpts.before(one.before, one.after, cut=cut)),
            _side("in the dataset", page_excerpts.after(one.after, one.before, masked=masked)),
            class_="pair",
        )


def _side(title: str, content: Html) -> Html:
    return element("div", element("p", title, class_="soft"), content)


def _clean(rules: Sequence[RuleReport]) -> Html:
    items = [element("li", element("b", rule.id), f": {rule.meaning}") for rule in rules]
    head = element("summary", f"{len(rules)} rules looked and found nothing")
    return element("details", head, element("ul", *items, class_="inset"))
