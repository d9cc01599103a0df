"""Keys, tokens and passwords in a text, by the formats of their issuers.

Anchored patterns only, no entropy: a report full of harmless hashes is not read.
Covered: the kinds below. Not covered: secrets without a format, unless they are assigned to a name
such as `password`; obvious placeholders (`your-api-key`, `<token>`).

On request the program detect-secrets searches too. Its file scan is used (on a nameless file),
because its line scan finds other things and goes by entropy. Its entropy plugins are off (code is
full of hashes), and so is the one for public addresses, which belong to `personal_data`. Not
covered: secrets that its own filters take for placeholders.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.prepare.rules.rule import RowRule
from journeyman.prepare.rules.spans import Span, kinds_in
from journeyman.records import Interaction


class _Pattern(Struct, frozen=True):
    """A kind and its expression; the group `secret` is the secret itself.

    Every match contains the `mark` and one of the `hints`; a text without them is not searched.
    """

    kind: str
    mark: str
    hints: tuple[str, ...]
    expression: re.Pattern[str]


def _pattern(kind: str, hints: str, expression: str) -> _Pattern:
    several = tuple(hints.split("|"))
    return _Pattern(kind, _mark_of(several), several, re.compile(expression))


def _mark_of(hints: Sequence[str]) -> str:
    """The character of all hints that is rarest in prose and code: searching it is fast."""
    common = set(hints[0]).intersection(*hints)
    rarest_first = sorted(common, key=lambda one: (one.islower(), one in " _.", one))
    return next(iter(rarest_first), "")


_START, _END = r"(?<![A-Za-z0-9_-])", r"(?![A-Za-z0-9_-])"

# If two overlap the first wins, so precise patterns come before general ones.
_PATTERNS = (
    _pattern(
        "private-key",
        "PRIVATE KEY",
        r"(?P<secret>-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"\s*[A-Za-z0-9+/=:,\\\s-]{32,}?"
        r"(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z))",
    ),
    _pattern("aws-key-id", "AKIA|ASIA", rf"{_START}(?P<secret>(?:AKIA|ASIA)[A-Z2-7]{{16}}){_END}"),
    _pattern(
        "aws-secret",
        "aws|AWS",
        r"(?i:aws.{0,20}secret.{0,20})[=:]\s*[\"']?(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    ),
    _pattern(
        "github",
        "ghp_|gho_|ghu_|ghs_|ghr_",
        rf"{_START}(?P<secret>gh[pousr]_[A-Za-z0-9]{{36,251}}){_END}",
    ),
    _pattern(
        "github",
        "github_pat_",
        rf"{_START}(?P<secret>github_pat_[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}){_END}",
    ),
    _pattern(
        "gitlab",
        "glpat-|gldt-|glrt-|glptt-|glcbt-",
        rf"{_START}(?P<secret>gl(?:pat|dt|rt|ptt|cbt)-[\w-]{{20,}})",
    ),
    _pattern("slack", "xox", rf"{_START}(?P<secret>xox[abeprs]-[A-Za-z0-9-]{{20,}})"),
    _pattern(
        "slack-webhook",
        "hooks.slack.com",
        r"(?P<secret>https://hooks\.slack\.com/services/T\w{8,12}/B\w{8,12}/\w{20,28})",
    ),
    _pattern("google-api", "AIza", rf"{_START}(?P<secret>AIza[A-Za-z0-9_-]{{35}}){_END}"),
    _pattern("google-oauth", "GOCSPX-", rf"{_START}(?P<secret>GOCSPX-[A-Za-z0-9_-]{{28}}){_END}"),
    _pattern(
        "stripe",
        "k_live_|k_test_",
        rf"{_START}(?P<secret>[sr]k_(?:live|test)_[A-Za-z0-9]{{16,247}}){_END}",
    ),
    _pattern("anthropic", "sk-ant-", rf"{_START}(?P<secret>sk-ant-[A-Za-z0-9_-]{{24,}})"),
    _pattern("openai", "sk-", rf"{_START}(?P<secret>sk-(?:proj|svcacct|admin)-[\w-]{{32,}})"),
    _pattern("openai", "sk-", rf"{_START}(?P<secret>sk-[A-Za-z0-9]{{32,64}}){_END}"),
    _pattern("hugging-face", "hf_", rf"{_START}(?P<secret>hf_[A-Za-z]{{34}}){_END}"),
    _pattern("replicate", "r8_", rf"{_START}(?P<secret>r8_[A-Za-z0-9]{{37}}){_END}"),
    _pattern("pypi", "pypi-", rf"{_START}(?P<secret>pypi-AgE[A-Za-z0-9_-]{{50,}})"),
    _pattern("npm", "npm_", rf"{_START}(?P<secret>npm_[A-Za-z0-9]{{36}}){_END}"),
    _pattern(
        "sendgrid",
        "SG.",
        rf"{_START}(?P<secret>SG\.[A-Za-z0-9_-]{{22}}\.[A-Za-z0-9_-]{{43}}){_END}",
    ),
    _pattern("twilio", "SK", rf"{_START}(?P<secret>SK[0-9a-f]{{32}}){_END}"),
    _pattern("telegram", ":AA", rf"{_START}(?P<secret>\d{{8,10}}:AA[A-Za-z0-9_-]{{33}}){_END}"),
    _pattern(
        "jwt",
        "eyJ",
        rf"{_START}(?P<secret>eyJ[\w-]{{10,}}\.eyJ[\w-]{{10,}}\.[\w-]{{16,}}){_END}",
    ),
    _pattern("azure-storage", "AccountKey=", r"AccountKey=(?P<secret>[A-Za-z0-9+/]{86}==)"),
    _pattern(
        "connection-string",
        "://",
        r"[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{1,64}:(?P<secret>[^\s:/@\"'<>{}$]{4,128})@"
        r"[^\s/@\"'<>]",
    ),
    _pattern(
        "bearer",
        "uthorization|UTHORIZATION",
        r"(?i:authorization)[\"']?\s*[:=]\s*[\"']?(?i:bearer|token)\s+(?P<secret>[\w.~+/-]{20,}=*)",
    ),
    _pattern(
        "basic-auth",
        "uthorization|UTHORIZATION",
        r"(?i:authorization)[\"']?\s*[:=]\s*[\"']?(?i:basic)\s+(?P<secret>[A-Za-z0-9+/]{12,}={0,2})",
    ),
)

# A name such as `password` with its value in quotes, or alone on its line as in an .env file.
# Code that fetches the value (`password=get_password()`) matches neither.
_NAME = (
    r"(?i:password|passwd|passphrase|pwd|secret|secret[_-]?key|api[_-]?key|auth[_-]?token"
    r"|access[_-]?token|access[_-]?key|client[_-]?secret|private[_-]?key)"
)

_NAME_BEFORE = re.compile(rf"{_NAME}[\"']?\s*:?$")

_NAME_HINTS = ("pass", "pwd", "secret", "key", "token")

_QUOTED = re.compile(r"[=:]>?[ \t]*(?:\"(?P<secret>[^\"\s]{6,200})\"|'(?P<single>[^'\s]{6,200})')")

_IN_ENV = re.compile(
    r"^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][\w.-]{0,60})="
    r"(?P<secret>[^\s\"'()\[\]{}$<>,;]{6,200})[ \t]*$",
    re.MULTILINE,
)

_PLACEHOLDERS = re.compile(
    r"example|placeholder|dummy|changeme|change[_-]me|redacted|sample|fake|mock|insert|replace"
    r"|your|my[_-]|^my|xxx|\*\*\*|\.\.\.|<|>|\$\{|\{\{|%\(|^env[.:]|^os\.|^process\.|not[_-]?real"
    r"|1234567|abcdef|^(?:test|secret|password|passwd|token|none|null|true|false|string|hunter2?"
    r"|key|user|admin|root|foo|bar|baz|guest|postgres|pass)[\W_\d]*$",
    re.IGNORECASE,
)


def find_secrets(text: str, *, scan: bool = False) -> list[Span]:
    """Every secret in a text, in order; they do not overlap. scan: by detect-secrets too."""
    found: list[Span] = []
    for one in (*_shaped(text), *_assigned(text), *(_scanned(text) if scan else ())):
        if not any(one.start < other.end and other.start < one.end for other in found):
            found.append(one)
    return sorted(found)


def redacted(text: str, *, scan: bool = False) -> tuple[str, dict[str, int]]:
    """The text with each secret replaced by `[REDACTED:kind]`, and the count of each kind."""
    secrets = find_secrets(text, scan=scan)
    for secret in reversed(secrets):
        text = f"{text[: secret.start]}[REDACTED:{secret.kind}]{text[secret.end :]}"
    return text, dict(Counter(secret.kind for secret in secrets))


def _scanned(text: str) -> Iterator[Span]:
    for value, kind in _detect_secrets(text):
        for match in re.finditer(re.escape(value), text):
            yield Span(match.start(), match.end(), kind)


def _shaped(text: str) -> Iterator[Span]:
    for pattern in _PATTERNS:
        if pattern.mark not in text or not any(hint in text for hint in pattern.hints):
            continue
        for match in pattern.expression.finditer(text):
            if pattern.kind == "private-key" or not _is_placeholder(match["secret"]):
                yield Span(match.start("secret"), match.end("secret"), pattern.kind)


def _assigned(text: str) -> Iterator[Span]:
    lower = text.lower()
    if not any(hint in lower for hint in _NAME_HINTS):
        return
    if text.isascii() and not _names_a_secret(lower):
        return
    for match in _QUOTED.finditer(text):
        # Searching back from the value is fast; searching for names would try every place.
        if _NAME_BEFORE.search(text[max(0, match.start() - 40) : match.start()]):
            group = "secret" if match["secret"] is not None else "single"
            yield from _unless_placeholder(match, group)
    for match in _IN_ENV.finditer(text):
        if _NAME_BEFORE.search(match["name"]):
            yield from _unless_placeholder(match, "secret")


def _names_a_secret(lower: str) -> bool:
    """Whether a text may contain one of the names; `pass` and `key` alone are in most code."""
    if any(name in lower for name in ("secret", "passw", "passphrase", "pwd")):
        return True
    key = "key" in lower and any(name in lower for name in ("api", "access", "private"))
    return key or ("token" in lower and any(name in lower for name in ("auth", "access")))


def _unless_placeholder(match: re.Match[str], group: str) -> Iterator[Span]:
    if not _is_placeholder(match[group]):
        yield Span(match.start(group), match.end(group), "assigned")


def _is_placeholder(value: str) -> bool:
    """Whether a value is an example for the reader; one of few different characters is too."""
    return len(set(value)) < 4 or _PLACEHOLDERS.search(value) is not None


def secrets_in(interaction: Interaction, *, scan: bool = False) -> str | None:
    """The kinds of secrets in a row and how many of each, or None. scan: see `find_secrets`."""
    texts = (
        interaction.task,
        interaction.answer or "",
        *(turn.content for turn in interaction.sent),
        *(text for tool in interaction.tools for text in (tool.description, tool.parameters)),
    )
    return kinds_in(texts, partial(find_secrets, scan=scan))


RULES = (RowRule("secret", "error", "the row contains a key, a token or a password", secrets_in),)

_OFF = frozenset(("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"))


def require_scanner() -> None:
    """Raise MachineError if detect-secrets is not installed."""
    try:
        import detect_secrets  # noqa: F401
    except ImportError as error:
        raise MachineError(
            "`--detect-secrets` needs the package `detect-secrets`, which is not installed",
            hint="pip install 'journeyman[secrets]', or search with the built-in patterns alone",
        ) from error


def _detect_secrets(text: str) -> Iterator[tuple[str, str]]:
    """Each secret that detect-secrets finds in a text, with its kind, such as `jwt-token`."""
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import default_settings, get_settings

    if not text.strip():
        return
    descriptor = os.memfd_create("text")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(text.encode("utf-8", "replace"))
        with default_settings():
            get_settings().disable_plugins(*_OFF)
            # The path exists only while this process has the file open.
            for found in list(scan_file(f"/proc/self/fd/{descriptor}")):
                if found.secret_value:
                    yield found.secret_value, "-".join(found.type.casefold().split())
    finally:
        os.close(descriptor)
