"""A few examples of each rule: the place in the log, and the same place in the dataset.

`ExampleCollector` collects them; the functions below shorten one for the page and mark changes.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from journeyman.prepare.examine import Examination
from journeyman.prepare.records import RuleExample
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.registry import (
    BENCHMARK,
    CONTRADICTION,
    CUT_OFF,
    NEAR_PROMPT,
    PROMPT_DIFFERS,
    SAME_PROMPT,
    SECRET,
)
from journeyman.prepare.rules.secrets import find_secrets, redacted
from journeyman.records import Example, Interaction, Message

EXAMPLES = 3
_LENGTH = 240
ENDS = frozenset({CUT_OFF, "think-unclosed"})
"""The rules about the end of an answer; their examples show the end."""
_PROMPTS = frozenset(
    {PROMPT_DIFFERS, BENCHMARK, SAME_PROMPT, NEAR_PROMPT, "role-mismatch", "tester-without-test"}
)


class ExampleCollector:
    """Collects the examples, `by_rule`, while the rows go by a second time."""

    def __init__(self, examined: Examination) -> None:
        self._examined = examined
        self._scan = examined.plan.settings.detect_secrets
        self._wanted = _first_of_each(examined.rows)
        self.by_rule: dict[str, list[RuleExample]] = {}

    def wants(self, row: ExaminedLine) -> bool:
        """Whether a row is an example of a rule."""
        return row.line in self._wanted

    def add(self, row: ExaminedLine, logged: bytes, line: bytes | None) -> None:
        """Add a row: its Interaction as MessagePack, and its line in the dataset if it is used."""
        interaction = msgspec.msgpack.decode(logged, type=Interaction)
        example = None if line is None else msgspec.json.decode(line, type=Example)
        for rule in self._wanted[row.line]:
            prompt = interaction.sent or (Message("user", interaction.task),)
            before = self._excerpt(rule, prompt, interaction.answer)
            after = ""
            if example is not None:
                after = self._excerpt(rule, example.messages[:-1], example.messages[-1].content)
            seen = RuleExample(
                row.line, row.id or "", self._detail(rule, row, interaction), before, after
            )
            self.by_rule.setdefault(rule, []).append(seen)

    def _detail(self, rule: str, row: ExaminedLine, interaction: Interaction) -> str:
        if rule == CUT_OFF and row.line in self._examined.cut_offs.lines:
            return self._examined.cut_offs.lines[row.line]
        if rule in {SAME_PROMPT, NEAR_PROMPT, CONTRADICTION}:
            groups = self._examined.groups
            near = groups.near if rule == NEAR_PROMPT else groups.same
            lines = next((group.lines for group in near if row.line in group.lines), ())
            others = [str(line) for line in lines if line != row.line]
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            return f"lines {', '.join(others[:5])}{more}" if others else ""
        detail = self._examined.examiner.detail(rule, interaction)
        return self._redacted(detail)

    def _excerpt(self, rule: str, prompt: Sequence[Message], answer: str | None) -> str:
        """The part of a row that a rule is about, with secrets redacted."""
        if rule in _PROMPTS:
            turns = prompt if rule == PROMPT_DIFFERS else [x for x in prompt if x.role != "system"]
            return self._clipped("\n".join(f"{turn.role}: {turn.content}" for turn in turns))
        if rule == SECRET:
            contents = [*(turn.content for turn in prompt), answer or ""]
            return self._around_secret("\n".join(contents))
        text = self._redacted(answer or "").rstrip()
        is_end = rule in ENDS and len(text) > _LENGTH
        return f"…{text[-_LENGTH:]}" if is_end else self._clipped(text)

    def _around_secret(self, text: str) -> str:
        secrets = find_secrets(text, scan=self._scan)
        redacted_text = self._redacted(text)
        mark = secrets[0].start if secrets else max(0, redacted_text.find("[REDACTED:"))
        start = max(0, mark - _LENGTH // 2)
        return ("…" if start else "") + self._clipped(redacted_text[start:])

    def _clipped(self, text: str) -> str:
        text = self._redacted(text)
        return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"

    def _redacted(self, text: str) -> str:
        return redacted(text, scan=self._scan)[0]


def _first_of_each(rows: Iterable[ExaminedLine]) -> dict[int, list[str]]:
    """line -> the rules that it is an example of. Used rows are preferred.

    Only they have an excerpt from the dataset to compare.
    """
    used: dict[str, list[int]] = {}
    others: dict[str, list[int]] = {}
    for row in rows:
        if row.id is None:
            continue
        for rule in row.rules:
            lines = (used if row.used else others).setdefault(rule, [])
            if len(lines) < EXAMPLES:
                lines.append(row.line)
    wanted: dict[int, list[str]] = {}
    for rule in used | others:
        for line in (*used.get(rule, ()), *others.get(rule, ()))[:EXAMPLES]:
            wanted.setdefault(line, []).append(rule)
    return wanted


_LONGEST = 1600
"""Characters of one excerpt on the page; a longer one is shown without its middle."""
_END, _END_LINES = 700, 16
"""Characters and lines of the end of a cut-off answer, short enough to see without scrolling."""


class TextDifference(Struct, frozen=True):
    """A text in three parts: equal to another one, different, and equal again."""

    before: str
    changed: str
    after: str


def shortened(text: str) -> str:
    """A text, or its two ends with a line between them that says how much is missing."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters not shown …]\n{text[-half:]}"


def ending(text: str) -> str:
    """The end of an answer, after a line that says how much is missing."""
    kept = "\n".join(text[-_END:].split("\n")[-_END_LINES:])
    missing = len(text) - len(kept)
    return f"[… {missing:,} characters not shown …]\n{kept}" if missing else kept


def marked_changes(before: str, after: str) -> tuple[TextDifference, TextDifference]:
    """Both texts, each with the part that the other does not have."""
    return _change(before, after), _change(after, before)


def _change(text: str, other: str) -> TextDifference:
    start = _equal(text, other)
    end = _equal(text[start:][::-1], other[start:][::-1])
    middle, rest = text[start : len(text) - end], text[len(text) - end :]
    # Shortened on its own, so that the difference is never in the part that is not shown.
    return TextDifference(_tail(text[:start]), shortened(middle), _head(rest))


def _equal(one: str, other: str) -> int:
    """How many characters at the start are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _tail(text: str) -> str:
    missing = len(text) - _LONGEST // 2
    return f"[… {missing:,} characters …]{text[missing:]}" if missing > 0 else text


def _head(text: str) -> str:
    missing = len(text) - _LONGEST // 2
    return f"{text[: _LONGEST // 2]}[… {missing:,} characters …]" if missing > 0 else text
