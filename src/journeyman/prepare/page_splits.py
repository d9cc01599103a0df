"""What stands in each split: rows, groups, roles, and what was proved about the written files."""

from collections.abc import Sequence

from journeyman.events import Table
from journeyman.pages.markup import Html, element
from journeyman.pages.parts import card, rows_table, section, table_section
from journeyman.prepare.records import Checked, RoleReport, SplitReport

_PARTS = (("train", "train"), ("val", "val"), ("test", "test"), ("left", "left out"))


def splits(found: Sequence[SplitReport]) -> Html:
    """One row a split."""
    columns = ("split", "rows", "prompt groups", "end not trained", "secrets hidden")
    lengths = ("median length", "longest", "too long")
    rows = tuple(_split(one) for one in found)
    return table_section("The splits", Table("", (*columns, *lengths), rows))


def _split(one: SplitReport) -> tuple[str, ...]:
    counts = (one.rows, one.groups, one.masked, one.redacted)
    sizes = (one.median_characters, one.longest_characters)
    return (
        one.name,
        *(f"{count:,}" for count in counts),
        *("no rows" if size is None else f"{size:,} characters" for size in sizes),
        f"{one.over_long:,}",
    )


def roles(found: Sequence[RoleReport]) -> Html:
    """One row a role with its bar; the bars have one scale."""
    if not found:
        return Html()
    most = max(1, *(sum(_counts(role)) for role in found))
    rows = [
        element(
            "tr",
            element("th", role.agent, scope="row", class_="wraps"),
            *(element("td", f"{count:,}", class_="number") for count in _counts(role)),
            element("td", _bar(role, most), class_="bars"),
        )
        for role in found
    ]
    legend = [
        element("span", element("svg", _area(kind, 0, 16), viewBox="0 0 16 12"), f" {word}")
        for kind, word in _PARTS
    ]
    table = rows_table(("role", *(word for _, word in _PARTS), "share"), rows)
    return section(
        "Who was asked", element("p", *legend, class_="soft legend"), card(table, kind="roles")
    )


def _counts(role: RoleReport) -> tuple[int, ...]:
    return role.train, role.val, role.test, role.left_out


def _bar(role: RoleReport, most: int) -> Html:
    areas, x = [], 0.0
    for (kind, _), count in zip(_PARTS, _counts(role), strict=True):
        width = 200 * count / most
        if count:
            areas.append(_area(kind, round(x, 1), round(width, 1)))
        x += width
    words = ", ".join(
        f"{word} {count}" for (_, word), count in zip(_PARTS, _counts(role), strict=True)
    )
    return element(
        "svg", *areas, viewBox="0 0 200 12", preserveAspectRatio="none", role="img",
        aria_label=words,
    )  # fmt: skip


def _area(kind: str, x: float, width: float) -> Html:
    return element("rect", x=x, y=0, width=width, height=12, class_=f"bar {kind}")


def checks(found: Sequence[Checked]) -> Html:
    """What was looked up in the written files, each with its outcome in a word."""
    words = {True: "holds", False: "FAILS", None: "not checked"}
    kinds = {True: "good", False: "error", None: "soft"}
    rows = [
        element(
            "tr",
            element("td", element("span", words[one.ok], class_=f"state {kinds[one.ok]}")),
            element("td", one.what),
            element("td", one.detail, class_="wraps"),
        )
        for one in found
    ]
    if not rows:
        return Html()
    table = rows_table(("", "checked on the written files", "found"), rows)
    return section("What was checked afterwards", card(table))
