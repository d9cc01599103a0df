"""The first reading of the log: what each row is, what was found in it, and nothing of its text.

Memory: about 0.5 KB a row. The rows themselves wait in a `Spill`, their prompts in
`NearDuplicates`. What only the whole set shows is added later (`journeyman.prepare.whole_log`).
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from journeyman.data.log_row import SUCCESS
from journeyman.data.prompt_groups import group_of
from journeyman.data.role_prompts import messages_for
from journeyman.errors import DataRefused
from journeyman.prepare.chat_template import Renderer
from journeyman.prepare.log import Spill
from journeyman.prepare.records import Action
from journeyman.prepare.rules.answers import answer_key, differs_from_sent
from journeyman.prepare.rules.benchmark_overlap import BenchmarkPrompts
from journeyman.prepare.rules.completeness import WEAK_ENDS, RowRule
from journeyman.prepare.rules.registry import (
    BENCHMARK,
    CUT_OFF,
    LOOKS,
    OVER_LONG,
    PROMPT_DIFFERS,
    REPEATED,
    SECRET,
    in_order,
    licence_rule,
)
from journeyman.prepare.rules.row_length import RowLengthCheck
from journeyman.prepare.rules.secrets import look as look_for_secrets
from journeyman.prepare.split.group_split import Split
from journeyman.prepare.split.near_duplicates import NearDuplicates, prompt_text
from journeyman.records import Interaction, Message, Tool
from journeyman.settings import Prompts


class ExaminedLine(Struct, gc=False, array_like=True):
    """One line of the log. It starts with what the line is and ends with what became of it.

    `id` is None where the line could not be read, and `fault` then says why; it also says why a
    row cannot be rendered. `finished` is None where the log keeps no finish reason. `weak_end` is
    True where only an open bracket or the missing end of a sentence says that the answer was cut
    off. `answer` is a number that is equal for equal answers, 0 for none; `prompt` is empty where
    there is none.
    """

    line: int
    id: str | None = None
    agent: str = ""
    source: str = ""
    producer: str = ""
    succeeded: bool = False
    duration_s: float | None = None
    max_tokens: int | None = None
    weak_end: bool = False
    conversation: str | None = None
    repository: str | None = None
    logged_at_s: float | None = None
    prompt: str = ""
    answer: int = 0
    characters: int = 0
    fault: str = ""
    torn: bool = False
    rules: tuple[str, ...] = ()
    action: Action = "quarantined"
    reason: str = ""
    group: str = ""
    split: Split | None = None
    redacted: int = 0

    @property
    def used(self) -> bool:
        """Whether the row goes into a split."""
        return self.action in {"kept", "masked"}


class RowExaminer:
    """Looks at rows, one by one, with everything that the looking needs.

    `scan`: secrets are searched by detect-secrets, too. `unseen_tools` counts the rows whose
    tools on offer the template has no place for.
    """

    def __init__(
        self,
        renderer: Renderer,
        prompts: Prompts,
        over_long: RowLengthCheck,
        benchmark: BenchmarkPrompts | None,
        *,
        scan: bool = False,
    ) -> None:
        self._renderer = renderer
        self.prompts: Prompts = prompts
        self.scan = scan
        self._over_long = over_long
        self._benchmark = benchmark
        self._accepted: set[tuple[str, ...]] = set()
        self._shows_tools: bool | None = None
        self.unseen_tools = 0

    def add_prompt_findings(
        self, line: ExaminedLine, row: Interaction, near: NearDuplicates
    ) -> None:
        """Add what the row's prompt shows; its text goes to `near`."""
        rules = set(line.rules)
        try:
            messages = messages_for(row, self.prompts)
            self._require_rendered(messages, row.tools)
        except DataRefused as error:
            line.fault = error.message
        else:
            rules |= self._in_prompt(line, row, messages, near)
        line.rules = shared(in_order(rules))

    def detail(self, rule: str, row: Interaction) -> str:
        """What was seen in a row, in a few words; empty where the rule has none."""
        look = _BY_ID.get(rule)
        if look is not None:
            scans = rule == SECRET and self.scan
            return (look_for_secrets(row, scan=True) if scans else look.look(row)) or ""
        try:
            messages = messages_for(row, self.prompts)
        except DataRefused as error:
            return error.message
        if rule == OVER_LONG:
            return self._over_long.look(messages, row.tools) or ""
        if rule == BENCHMARK and self._benchmark is not None:
            return self._benchmark.shared(prompt_text(messages)) or ""
        if rule == PROMPT_DIFFERS:
            return ", ".join(differs_from_sent(row, messages[:-1]) or ())
        return ""

    def _in_prompt(
        self,
        line: ExaminedLine,
        row: Interaction,
        messages: Sequence[Message],
        near: NearDuplicates,
    ) -> set[str]:
        rules = set()
        line.prompt = group_of(messages)
        text = prompt_text(messages)
        near.add(line.prompt, text)
        asked = messages[:-1] if messages[-1].role == "assistant" else messages
        if differs_from_sent(row, asked):
            rules.add(PROMPT_DIFFERS)
        if self._benchmark is not None and self._benchmark.shared(text):
            rules.add(BENCHMARK)
        if self._over_long.look(messages, row.tools) is not None:
            rules.add(OVER_LONG)
        return rules

    def _require_rendered(self, messages: Sequence[Message], tools: Sequence[Tool]) -> None:
        """Raise DataRefused where the template refuses the turns; each order of turns is tried."""
        shape = tuple(f"{turn.role}{'+' if turn.tool_calls else ''}" for turn in messages)
        if tools:
            shape = (*shape, "tools")
        if shape not in self._accepted:
            self._renderer.text(messages, tools)
            self._accepted.add(shape)
        if tools:
            self.unseen_tools += not self._shows(tools[0])

    def _shows(self, tool: Tool) -> bool:
        """Whether the template has a place for tools; asked once, of the first one."""
        if self._shows_tools is None:
            self._shows_tools = self._renderer.shows(tool)
        return self._shows_tools


def examined_line(row: Interaction, *, scan: bool = False) -> ExaminedLine:
    """The line of a row, with the findings that need nothing but the row.

    scan: search for secrets with detect-secrets too.
    """
    seen = [(rule.id, rule.look(row)) for rule in LOOKS]
    if scan:
        seen.append((SECRET, look_for_secrets(row, scan=True)))
    matched = {name: detail for name, detail in seen if detail is not None}
    licence = _licence_rule(row.producer)
    return ExaminedLine(
        row.line,
        id=row.id,
        agent=row.agent,
        source=row.source,
        producer=row.producer or "",
        succeeded=row.status == SUCCESS,
        duration_s=row.duration_s,
        max_tokens=row.max_tokens,
        weak_end=matched.get(CUT_OFF) in WEAK_ENDS and not row.finish_reason,
        conversation=row.conversation,
        repository=row.repository,
        logged_at_s=row.logged_at_s,
        answer=answer_key(row.answer),
        characters=len(row.answer or ""),
        rules=(*matched, licence) if licence else tuple(matched),
    )


def examine_rows(
    rows: Iterable[tuple[Interaction | None, ExaminedLine]],
    examiner: RowExaminer,
    spill: Spill,
    near: NearDuplicates,
) -> list[ExaminedLine]:
    """Every line in the log's order; rows go into the spill, prompts into `near`.

    rows: None for a line that could not be read.
    """
    seen: set[str] = set()
    lines: list[ExaminedLine] = []
    for row, line in rows:
        lines.append(line)
        if row is None:
            continue
        spill.add(row)
        # A million rows have few different ones.
        line.agent, line.source, line.producer = map(
            sys.intern, (line.agent, line.source, line.producer)
        )
        examiner.add_prompt_findings(line, row, near)
        if row.id in seen:
            line.rules = shared(in_order({*line.rules, REPEATED}))
        seen.add(row.id)
    return lines


@lru_cache(maxsize=4096)
def shared(rules: tuple[str, ...]) -> tuple[str, ...]:
    """The same tuple for equal ones: a million rows have few different findings."""
    return rules


@lru_cache(maxsize=4096)
def _licence_rule(producer: str | None) -> str | None:
    return licence_rule(producer)


_BY_ID: Mapping[str, RowRule] = {rule.id: rule for rule in LOOKS}
