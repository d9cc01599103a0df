"""A few examples of each rule: the place in the log, and the same place in the dataset."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

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
_ENDS = frozenset({CUT_OFF, "think-unclosed"})
_PROMPTS = frozenset(
    {PROMPT_DIFFERS, BENCHMARK, SAME_PROMPT, NEAR_PROMPT, "role-mismatch", "tester-without-test"}
)


class Album:
    """Collects the examples while the rows go by for the second time."""

    def __init__(self, examined: Examination) -> None:
        self._examined = examined
        self._scan = examined.judge.scan
        self._wanted = _first_of_each(examined.rows)
        self._found: dict[str, list[RuleExample]] = {}

    def wants(self, row: ExaminedLine) -> bool:
        """Whether a row is to be shown."""
        return row.line in self._wanted

    def show(self, row: ExaminedLine, logged: bytes, line: bytes | None) -> None:
        """Take a row: an Interaction as MessagePack, and its line in the dataset, if it has one."""
        interaction = msgspec.msgpack.decode(logged, type=Interaction)
        example = None if line is None else msgspec.json.decode(line, type=Example)
        for rule in self._wanted[row.line]:
            asked = interaction.sent or _asked(interaction)
            before = self._excerpt(rule, asked, interaction.answer)
            after = ""
            if example is not None:
                after = self._excerpt(rule, example.messages[:-1], example.messages[-1].content)
            seen = RuleExample(
                row.line, row.id or "", self._detail(rule, row, interaction), before, after
            )
            self._found.setdefault(rule, []).append(seen)

    def examples(self) -> Mapping[str, Sequence[RuleExample]]:
        """What was collected, by rule."""
        return self._found

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
        detail = self._examined.judge.detail(rule, interaction)
        return self._hidden(detail)

    def _excerpt(self, rule: str, prompt: Sequence[Message], answer: str | None) -> str:
        """The part of a row that a rule is about, its secrets hidden."""
        if rule in _PROMPTS:
            turns = prompt if rule == PROMPT_DIFFERS else [x for x in prompt if x.role != "system"]
            return self._clipped("\n".join(f"{turn.role}: {turn.content}" for turn in turns))
        if rule == SECRET:
            contents = [*(turn.content for turn in prompt), answer or ""]
            return self._around_secret("\n".join(contents))
        text = self._hidden(answer or "").rstrip()
        is_end = rule in _ENDS and len(text) > _LENGTH
        return f"…{text[-_LENGTH:]}" if is_end else self._clipped(text)

    def _around_secret(self, text: str) -> str:
        secrets = find_secrets(text, scan=self._scan)
        hidden = self._hidden(text)
        mark = secrets[0].start if secrets else max(0, hidden.find("[REDACTED:"))
        start = max(0, mark - _LENGTH // 2)
        return ("…" if start else "") + self._clipped(hidden[start:])

    def _clipped(self, text: str) -> str:
        text = self._hidden(text)
        return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"

    def _hidden(self, text: str) -> str:
        return redacted(text, scan=self._scan)[0]


def _first_of_each(rows: Iterable[ExaminedLine]) -> dict[int, list[str]]:
    """line -> the rules that it is an example of; rows that are used are shown first.

    Only they have the same place in the dataset to look at.
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


def _asked(interaction: Interaction) -> tuple[Message, ...]:
    return (Message("user", interaction.task),)
