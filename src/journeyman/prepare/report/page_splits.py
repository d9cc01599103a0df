"""What stands in each split: rows, groups, roles, and what was proved about the written files."""

from collections.abc import Sequence

from journeyman.html.markup import Html, card, element, rows_table, section
from journeyman.prepare.records import FileCheck, RoleReport, SplitReport

_PARTS = (("train", "train"), ("val", "val"), ("test", "test"), ("left", "left out"))


def splits(found: Sequence[SplitReport]) -> Html:
    """One column a split, so that it fits a phone."""
    if not found:
        return Html()
    table: dict[str, list[int] | list[int | None]] = {
        "rows": [one.rows for one in found],
        "groups of prompts": [one.groups for one in found],
        "end not trained": [one.masked for one in found],
        "secrets hidden": [one.redacted for one in found],
        "median answer, characters": [one.median_characters for one in found],
        "longest answer, characters": [one.longest_characters for one in found],
        "longer than training takes": [one.over_long for one in found],
    }
    rows = (
        element(
            "tr",
            element("th", name, scope="row"),
            *(element("td", "none" if n is None else f"{n:,}", class_="number") for n in counts),
        )
        for name, counts in table.items()
    )
    return section("The splits", card(rows_table(("", *(one.name for one in found)), rows)))


def roles(found: Sequence[RoleReport]) -> Html:
    """One row a role with its bar; the bars have one scale."""
    if not found:
        return Html()
    most = max(1, *(sum(_counts(role)) for role in found))
    rows = [
        element(
            "tr",
            element("th", role.agent, scope="row"),
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


def checks(found: Sequence[FileCheck]) -> Html:
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
