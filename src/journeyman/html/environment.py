"""Pages from templates: values are escaped, and invisible characters are shown by name.

A template is a file of this package, named by its path inside it: `prepare/report/page.html`. It
extends `html/base.html`, whose own policy lets a page load and run nothing.
Values are text and records of text; markup comes from templates only, or from `coded`.
Not covered: letters that look like others.
"""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

# Control characters except tab and newline, surrogates (which UTF-8 cannot encode), marks that turn
# the order of reading, and marks without width except the joiners, which scripts and emoji need.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_PICTURES = 0x2400


def render(template: str, **values: object) -> str:
    """The page of a template. A missing value is an error, not an empty string."""
    return _environment().get_template(template).render(**values)


def visible(text: str) -> str:
    """The text with a name for each character that cannot be seen: `␛` or `⟨U+202E⟩`."""
    return _UNSEEN.sub(_name, text.replace("\r\n", "\n"))


def coded(text: str) -> Markup:
    """A sentence with its backticks set as code; everything in it is escaped."""
    pieces = enumerate(visible(text).split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece)
        for place, piece in pieces
    )


def counted(count: int, word: str) -> str:
    """`1 row`, `2 rows`; for words that take an s."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("journeyman", "."),
        autoescape=True,
        finalize=_finalized,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    environment.filters["counted"] = counted
    environment.filters["thousands"] = "{:,}".format
    return environment


def _finalized(value: object) -> object:
    """The value to write, before it is escaped; markup is not changed."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _name(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_PICTURES + code) if code < ord(" ") else f"⟨U+{code:04X}⟩"
