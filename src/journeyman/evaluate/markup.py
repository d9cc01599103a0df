"""HTML that cannot be broken out of: whatever is not made here is escaped."""

import html


class Html(str):
    """Text that is markup already. Only this module makes it from anything but its own kind."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float) -> Html:
    """One element; children that are not Html are escaped, and so is every attribute's value.

    An attribute's name has `_` for `-`, and one trailing `_` for Python's reserved words.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    written = "".join(f' {key}="{html.escape(str(value))}"' for key, value in pairs)
    return Html(f"<{tag}{written}>{joined(*children)}</{tag}>")


def joined(*children: str) -> Html:
    """Children one after the other, each escaped unless it is Html."""
    return Html("".join(c if isinstance(c, Html) else html.escape(c) for c in children))


def document(title: str, style: str, body: Html) -> str:
    """A whole page that loads nothing and runs nothing, whatever stands in it. style: our own."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = Html(
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{style}</style>"
    )
    page = joined(element("head", head), element("body", body))
    return f"<!doctype html>\n{element('html', page, lang='en')}\n"
