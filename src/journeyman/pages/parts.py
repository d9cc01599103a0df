"""What pages are put together from: a section, a list, a table."""

from collections.abc import Iterable

from journeyman.events import Table
from journeyman.pages.markup import Html, element, joined


def section(title: str, *parts: str) -> Html:
    """A part of the page under its title."""
    return element("section", element("h2", title), *parts)


def list_section(title: str, lines: Iterable[str]) -> Html:
    """A section with one point a line, text as `coded`; nothing where there are no lines."""
    items = [element("li", line if isinstance(line, Html) else coded(line)) for line in lines]
    return section(title, element("ul", *items)) if items else Html()


def table_section(title: str, table: Table) -> Html:
    """A section with a table as it was reported; nothing where it has no rows."""
    return section(title, card(table_of(table))) if table.rows else Html()


def table_of(table: Table) -> Html:
    """A table as it was reported."""
    rows = [
        element("tr", *(element("td", cell, class_="number") for cell in row)) for row in table.rows
    ]
    return rows_table(table.columns, rows)


def counted(count: int, word: str) -> str:
    """`1 row`, `2 rows`; for words that take an s."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def coded(text: str) -> Html:
    """A sentence in which what stands between backticks is set as code."""
    pieces = enumerate(text.split("`"))
    return joined(*(element("code", one) if place % 2 else one for place, one in pieces))


def rows_table(columns: Iterable[str], rows: Iterable[Html]) -> Html:
    """A table of `tr` elements under the names of its columns."""
    head = element("tr", *(element("th", column, scope="col") for column in columns))
    return element("table", element("thead", head), element("tbody", *rows))


def card(*parts: str, kind: str = "") -> Html:
    """A frame around something that may be wider than a phone. kind: a class for its own style."""
    return element("div", *parts, class_=f"card {kind}".strip())
