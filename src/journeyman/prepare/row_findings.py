"""The first reading of the log: each row and its findings as a small record without its text.

Memory: about 0.5 KB a row. The rows themselves wait in a `Spill`, their prompts in
`NearDuplicates`. Findings that need the whole log are added later (`journeyman.prepare.whole_log`).
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
from journeyman.prepare.rules.answers import answer_key, differs_from_sent
from journeyman.prepare.rules.benchmark_overlap import BenchmarkPrompts
from journeyman.prepare.rules.completeness import WEAK_ENDS
from journeyman.prepare.rules.licences import licence_rule
from journeyman.prepare.rules.registry import (
    BENCHMARK,
    CUT_OFF,
    OVER_LONG,
    PROMPT_DIFFERS,
    REPEATED,
    ROW_RULES,
    SECRET,
    in_order,
)
from journeyman.prepare.rules.row_length import RowLengthCheck
from journeyman.prepare.rules.rule import Action, RowRule
from journeyman.prepare.rules.secrets import secrets_in
from journeyman.prepare.split.group_split import Split
from journeyman.prepare.split.near_duplicates import NearDuplicates, prompt_text
from journeyman.records import Interaction, Message, Tool
from journeyman.settings import Prompts

_BY_ID: Mapping[str, RowRule] = {rule.id: rule for rule in ROW_RULES}


# Arrays, not maps, cross the pipe to the worker processes: the field names would double the size.
class ExaminedLine(Struct, gc=False, array_like=True):
    """One line of the log: what it is, what was found in it, and what becomes of it.

    `id` is None if the line could not be read; `fault` says why, or why a row cannot be rendered.
    `weak_end`: only an open bracket or an unfinished sentence shows that the answer was cut off.
    `answer` is a number, equal for equal answers and 0 for none. `prompt` is empty without one.
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
    """Examines rows one by one.

    `scan`: search for secrets with detect-secrets too. `rows_with_hidden_tools`: rows that offer
    tools which the template does not show.
    """

    def __init__(
        self,
        renderer: Renderer,
        prompts: Prompts,
        length_check: RowLengthCheck,
        benchmark: BenchmarkPrompts | None,
        *,
        scan: bool = False,
    ) -> None:
        self._renderer = renderer
        self._prompts: Prompts = prompts
        self._scan = scan
        self._length_check = length_check
        self._benchmark = benchmark
        self._accepted: set[tuple[str, ...]] = set()
        self._shows_tools: bool | None = None
        self.rows_with_hidden_tools = 0

    def add_prompt_findings(
        self, line: ExaminedLine, row: Interaction, near: NearDuplicates
    ) -> None:
        """Add the findings about the row's prompt to its line; the prompt's text goes to `near`."""
        rules = set(line.rules)
        try:
            messages = messages_for(row, self._prompts)
            self._require_rendered(messages, row.tools)
        except DataRefused as error:
            line.fault = error.message
        else:
            rules |= self._in_prompt(line, row, messages, near)
        line.rules = shared(in_order(rules))

    def detail(self, rule: str, row: Interaction) -> str:
        """What a rule found in a row, in a few words; empty if the rule has no words for it."""
        row_rule = _BY_ID.get(rule)
        if row_rule is not None:
            scan = rule == SECRET and self._scan
            return (secrets_in(row, scan=True) if scan else row_rule.find(row)) or ""
        try:
            messages = messages_for(row, self._prompts)
        except DataRefused as error:
            return error.message
        if rule == OVER_LONG:
            return self._length_check.find(messages, row.tools) or ""
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
        prompt = messages[:-1] if messages[-1].role == "assistant" else messages
        if differs_from_sent(row, prompt):
            rules.add(PROMPT_DIFFERS)
        if self._benchmark is not None and self._benchmark.shared(text):
            rules.add(BENCHMARK)
        if self._length_check.find(messages, row.tools) is not None:
            rules.add(OVER_LONG)
        return rules

    def _require_rendered(self, messages: Sequence[Message], tools: Sequence[Tool]) -> None:
        """Raise DataRefused if the template refuses the turns; each order of roles is tried."""
        shape = tuple(f"{turn.role}{'+' if turn.tool_calls else ''}" for turn in messages)
        if tools:
            shape = (*shape, "tools")
        if shape not in self._accepted:
            self._renderer.text(messages, tools)
            self._accepted.add(shape)
        if tools:
            self.rows_with_hidden_tools += not self._shows(tools[0])

    def _shows(self, tool: Tool) -> bool:
        """Whether the template shows tools; tried once, with the first one."""
        if self._shows_tools is None:
            self._shows_tools = self._renderer.shows(tool)
        return self._shows_tools


def examined_line(row: Interaction, *, scan: bool = False) -> ExaminedLine:
    """The line of a row, with the findings that need nothing but the row.

    scan: search for secrets with detect-secrets too.
    """
    details = [(rule.id, rule.find(row)) for rule in ROW_RULES]
    if scan:
        details.append((SECRET, secrets_in(row, scan=True)))
    found = {name: detail for name, detail in details if detail is not None}
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
        weak_end=found.get(CUT_OFF) in WEAK_ENDS and not row.finish_reason,
        conversation=row.conversation,
        repository=row.repository,
        logged_at_s=row.logged_at_s,
        answer=answer_key(row.answer),
        characters=len(row.answer or ""),
        rules=(*found, licence) if licence else tuple(found),
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
        # A million rows have few different agents, sources and producers.
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
    """One tuple for all equal ones: a million rows have few different findings."""
    return rules


@lru_cache(maxsize=4096)
def _licence_rule(producer: str | None) -> str | None:
    return licence_rule(producer)
