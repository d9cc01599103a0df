"""What is asked more than once: how often, whether the answers agree, and examples."""

from journeyman.html.markup import Html, counted, element, section
from journeyman.prepare.records import DuplicateGroup, Duplicates
from journeyman.prepare.report.page_excerpts import shortened

_LINES = 20


def duplicates(found: Duplicates) -> Html:
    """Counts in sentences, then the examples to fold out."""
    if not found.exact_groups and not found.near_groups:
        return section("Asked more than once", element("p", "No prompt stands in the log twice."))
    examples = sorted(found.examples, key=lambda one: -len(one.lines))
    return section(
        "Asked more than once",
        element("ul", *(element("li", line) for line in _facts(found))),
        *(_example(one, largest=place == 0) for place, one in enumerate(examples)),
    )


def _facts(found: Duplicates) -> list[str]:
    facts = [
        f"prompts that stand in several rows: {found.exact_groups:,}",
        f"groups that join nearly equal prompts: {found.near_groups:,}",
        f"rows in these groups: {found.rows:,}; surplus, were one of each kept: {found.surplus:,}",
        f"groups whose answers differ: {found.contradicting:,};"
        f" with answers of several producers: {found.mixed_producers:,}",
        "what asks the same is kept in one split; the checks below say whether that holds",
    ]
    if found.repeated_answers:
        facts.append(f"answers that three or more prompts got: {found.repeated_answers:,}")
    if not found.all_pairs:
        facts.append("near pairs were proposed by MinHash: a few may be missing")
    return facts


def _example(group: DuplicateGroup, *, largest: bool) -> Html:
    rows, shown = len(group.lines), ", ".join(f"{line:,}" for line in group.lines[:_LINES])
    more = f" and {rows - _LINES:,} more" if rows > _LINES else ""
    producers = f" by {group.producers:,} producers" if group.producers > 1 else ""
    head = [element("span", "largest shown", class_="tag")] if largest else []
    summary = element(
        "summary",
        *head,
        f"{counted(rows, 'row')}, {counted(group.answers, 'different answer')}{producers}",
        element("span", f"lines {shown}{more}", class_="marks"),
    )
    prompts = [element("div", element("pre", shortened(one))) for one in group.prompts]
    several = "" if len(prompts) > 1 else " one"
    return element("details", summary, element("div", *prompts, class_=f"pair{several}"))
