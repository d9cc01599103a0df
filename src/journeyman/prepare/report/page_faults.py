"""Every fault that was found: how grave, how often, what was done, and what it looks like."""

from collections.abc import Iterator, Sequence

from journeyman.html.markup import Html, coded, element, section
from journeyman.prepare.records import RuleExample, RuleReport
from journeyman.prepare.report.page_excerpts import changed_boxes, ending_box, text_box

_IDS = 4
_STOPPED = frozenset({"cut-off", "think-unclosed"})
"""The rules about an answer's end: that is what their examples show."""


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
        " ",
        coded(rule.meaning),
        element("span", f"{rule.id}; {_done(rule)}", class_="marks"),
    )
    examples = [box for seen in rule.examples for box in _example(seen, rule)]
    return element("details", head, element("div", *examples, class_="pair"), _rows(rule))


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
    return element("p", f"rows {shown}{more}", class_="soft wraps inset small")


def _example(seen: RuleExample, rule: RuleReport) -> Iterator[Html]:
    """One box, or two where log and dataset differ: those stand in a row of their own."""
    what = f"line {seen.line:,}" + (f": {seen.detail}" if seen.detail else "")
    if seen.after and seen.after != seen.before:
        yield element("h3", coded(what), class_="wide wraps")
        yield from changed_boxes(seen.before, seen.after)
        return
    where = "this part is equal in the dataset" if seen.after else "not in the dataset"
    title = coded(f"{what} ({where})")
    if rule.id in _STOPPED:
        yield ending_box(title, seen.before, masked=rule.masked > 0 and bool(seen.after))
    else:
        yield text_box(title, seen.before)


def _clean(rules: Sequence[RuleReport]) -> Html:
    items = [element("li", element("b", rule.id), ": ", coded(rule.meaning)) for rule in rules]
    head = element("summary", f"{len(rules)} rules looked and found nothing")
    return element("details", head, element("ul", *items, class_="inset"))
