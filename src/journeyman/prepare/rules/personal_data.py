"""Personal data in a text.

Covered: e-mail addresses, telephone numbers, public IP addresses, home folders with a user name.
Not covered: names, postal addresses and identity numbers, which only a language model can find.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator

from journeyman.prepare.rules.rule import RowRule
from journeyman.prepare.rules.spans import Span, kinds_in
from journeyman.records import Interaction

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})(?![\w-])"
)
# An international number, or one with an area code in brackets, or three groups (3-3-4).
_PHONE = re.compile(
    r"(?<![\w.+/=-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}[-.]\d{3}[-.]\d{4})(?![\w-]|\.\d)"
)
# Every match of the other expressions contains one of these. Each starts with a fixed character:
# searching for that is fifty times as fast as trying an expression at every place.
_AT_DOMAIN = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2}")
_IN_PHONES = tuple(
    map(re.compile, (r"\+[1-9]", r"\(\d{3}\)", r"-\d{3}[-.]\d{4}", r"\.\d{3}[-.]\d{4}"))
)
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_DOTTED = re.compile(r"\.\d{1,3}\.\d")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_HOME = re.compile(
    r"(?:(?<![\w/.])/(?:home|Users)/|\b[A-Za-z]:\\{1,2}Users\\{1,2})([A-Za-z0-9._-]{2,32})"
)

# RFC 2606 and 6761, and what code and documents use as examples.
_EXAMPLE_DOMAINS = re.compile(
    r"(?:^|\.)(?:example(?:\.(?:com|org|net|edu))?|test|invalid|localhost|local|domain\.com"
    r"|company\.com|email\.com|yourdomain\.com|mail\.com|noreply\.github\.com)$",
    re.IGNORECASE,
)
_EXAMPLE_USERS = frozenset(
    re.split(
        r"\s",
        "user username you your-name yourname your_name your-user name me someone ubuntu runner app"
        " appuser vscode node jovyan public shared default root test admin foo bar alice bob"
        " linuxbrew circleci travis gitpod vagrant ec2-user",
    )
)


def find_personal_data(text: str) -> list[Span]:
    """All personal data in a text, in order."""
    return sorted(one for find in _FINDERS for one in find(text))


def _emails(text: str) -> Iterator[Span]:
    if not _AT_DOMAIN.search(text):
        return
    for match in _EMAIL.finditer(text):
        if not _EXAMPLE_DOMAINS.search(match[1]):
            yield Span(match.start(), match.end(), "e-mail")


def _phones(text: str) -> Iterator[Span]:
    if not any(mark.search(text) for mark in _IN_PHONES):
        return
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        # 555-01xx is reserved for fiction; a telephone number has 8 to 15 digits.
        fictional = re.search(r"555-?01\d\d$", re.sub(r"[ .()]", "-", match[0]))
        if 8 <= len(digits) <= 15 and not fictional and len(set(digits)) > 2:
            yield Span(match.start(), match.end(), "telephone")


def _addresses(text: str) -> Iterator[Span]:
    fours = _IPV4.finditer(text) if _DOTTED.search(text) else iter(())
    colons = ("::" in text or text.count(":") >= 7) and _TWO_COLONS.search(text)
    sixes = _IPV6.finditer(text) if colons else iter(())
    for match in (*fours, *sixes):
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            continue
        # `is_global` is false for private, loopback, link-local and documentation ranges.
        if address.is_global and not address.is_multicast and not _is_well_known(address):
            yield Span(match.start(), match.end(), "ip-address")


def _is_well_known(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Public resolvers, and addresses that are as likely a version number (1.2.3.4)."""
    if address.version == 6:
        return str(address).startswith(("2001:4860:4860::", "2606:4700:4700::", "2001:db8:"))
    return str(address) in _PUBLIC_SERVICES or all(part < 24 for part in address.packed)


_PUBLIC_SERVICES = frozenset({"8.8.8.8", "8.8.4.4", "9.9.9.9", "208.67.222.222", "1.1.1.1"})


def _homes(text: str) -> Iterator[Span]:
    if "/home/" not in text and "Users" not in text:
        return
    for match in _HOME.finditer(text):
        if match[1].casefold().rstrip(".") not in _EXAMPLE_USERS:
            yield Span(match.start(1), match.end(1), "home-folder")


_FINDERS: tuple[Callable[[str], Iterator[Span]], ...] = (
    _emails,
    _phones,
    _addresses,
    _homes,
)


def _found(interaction: Interaction) -> str | None:
    texts = (interaction.task, interaction.answer or "", *(m.content for m in interaction.sent))
    return kinds_in(texts, find_personal_data)


RULES = (RowRule("personal", "warning", "the row contains personal data", _found),)
