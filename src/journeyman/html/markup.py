"""HTML that cannot be broken out of: whatever is not made here is escaped.

Characters that nobody sees are shown by name, so that a text cannot hide what it holds or change
the order in which it is read. Not covered: letters that look like others.

What pages are put together from: a section, a list, a table.
"""

import html
import re
from collections.abc import Iterable

from journeyman.events import Table


class Html(str):
    """Text that is markup already. Only this module makes it from anything but its own kind."""

    __slots__ = ()


# Control characters but tab and newline, halves of characters (which no file can hold), marks that
# turn the order of reading, and marks without width but the joiners, which scripts and emoji need.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)

_PICTURES = 0x2400


def element(tag: str, *children: str, **attributes: str | float) -> Html:
    """One element; children that are not Html are escaped, and so is every attribute's value.

    An attribute's name has `_` for `-`, and one trailing `_` for Python's reserved words.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    written = "".join(f' {key}="{_escaped(str(value))}"' for key, value in pairs)
    return Html(f"<{tag}{written}>{joined(*children)}</{tag}>")


def joined(*children: str) -> Html:
    """Children one after the other, each escaped unless it is Html."""
    return Html("".join(c if isinstance(c, Html) else _escaped(c) for c in children))


def document(title: str, style: str, body: Html) -> str:
    """A whole page that loads nothing and runs nothing, whatever stands in it. style: our own."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = Html(
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_escaped(title)}</title><style>{style}</style>"
    )
    page = joined(element("head", head), element("body", body))
    return f"<!doctype html>\n{element('html', page, lang='en')}\n"


def _escaped(text: str) -> str:
    return _UNSEEN.sub(_name, html.escape(text.replace("\r\n", "\n")))


def _name(found: re.Match[str]) -> str:
    """`␛` for ESC and its like, `⟨U+202E⟩` for the others."""
    code = ord(found[0])
    return chr(_PICTURES + code) if code < ord(" ") else f"⟨U+{code:04X}⟩"


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
