"""HTML that cannot be broken out of: whatever is not made here is escaped.

Characters that nobody sees are shown by name, so that a text cannot hide what it holds or change
the order in which it is read. Not covered: letters that look like others.
"""

import html
import re


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
