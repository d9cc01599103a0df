"""What only the whole set shows, added to each row; then what becomes of it.

The answers that a cap on tokens cut off, prompts that stand there more than once, answers that
contradict or repeat each other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from journeyman.data.prompt_groups import joined
from journeyman.files import content_id
from journeyman.prepare.row_findings import ExaminedLine, shared
from journeyman.prepare.rules.answers import AnswerStatistics, SamePromptRows
from journeyman.prepare.rules.registry import (
    CONTRADICTION,
    CUT_OFF,
    NEAR_PROMPT,
    REPEATED_ANSWER,
    SAME_ANSWER,
    SAME_PROMPT,
    Does,
    decide,
    in_order,
)
from journeyman.prepare.rules.token_limit import CutOffs
from journeyman.prepare.split.near_duplicates import NearGroups


class RepeatedPrompts(Struct, frozen=True):
    """What was found about prompts that stand there more than once.

    `same` are groups of equal prompts, `near` those that join different ones; both of several rows.
    """

    same: tuple[SamePromptRows, ...]
    near: tuple[SamePromptRows, ...]
    repeated_answers: int
    all_pairs: bool


def add_cut_offs(rows: Sequence[ExaminedLine], cut_offs: CutOffs) -> None:
    """Let the count of tokens decide where tokens were counted, but for what the text proves."""
    for row in rows:
        measured = (row.producer, row.max_tokens) in cut_offs.counts
        if row.line in cut_offs.lines:
            _add(row, CUT_OFF)
        elif measured and row.weak_end:
            row.rules = shared(tuple(rule for rule in row.rules if rule != CUT_OFF))


def add_groups(rows: Sequence[ExaminedLine], near: NearGroups) -> RepeatedPrompts:
    """Mark the rows whose prompt or answer stands there more than once; set each row's `group`."""
    asked = [row for row in rows if row.prompt]
    names = _with_conversations(asked, near)
    same, nearly = AnswerStatistics(), AnswerStatistics()
    for row in asked:
        row.group = names.get(row.prompt) or near.of(row.prompt)
        same.add(row.line, row.prompt, row.answer, row.producer)
        nearly.add(row.line, near.of(row.prompt), row.answer, row.producer)
    same_groups, near_groups, repeated = same.duplicates(), nearly.duplicates(), nearly.repeated()
    marked = {line for one in same_groups for line in one.lines}
    marked |= {line for one in near_groups for line in one.lines}
    marked |= {line for one in repeated for line in one.lines}
    by_line = {row.line: row for row in asked if row.line in marked}
    near_groups = [
        group for group in near_groups if len({by_line[line].prompt for line in group.lines}) > 1
    ]
    for group in same_groups:
        _mark_same([by_line[line] for line in group.lines])
    for group in near_groups:
        for line in group.lines:
            _add(by_line[line], NEAR_PROMPT)
    for one in repeated:
        for line in one.lines:
            _add(by_line[line], REPEATED_ANSWER)
    return RepeatedPrompts(tuple(same_groups), tuple(near_groups), len(repeated), near.exact)


def add_decisions(rows: Sequence[ExaminedLine], does: Mapping[str, Does]) -> None:
    """Set what becomes of each row. One that is dropped anyway need not be renderable."""
    for row in rows:
        if row.id is None:
            row.action, row.reason = "quarantined", row.fault
            continue
        decision = decide(row.rules, does)
        row.action, row.reason = decision.action, decision.reason
        if row.fault and row.action != "dropped":
            row.action, row.reason = "quarantined", row.fault


def part_near(rows: Sequence[ExaminedLine]) -> None:
    """Let only rows with the same prompt or conversation be of one group, not near ones."""
    used = [row for row in rows if row.used]
    keys = [
        (row.prompt, f"~{row.conversation}") if row.conversation else (row.prompt,) for row in used
    ]
    for row, name in zip(used, joined(keys), strict=True):
        row.group = name


def keep_together(rows: Sequence[ExaminedLine]) -> None:
    """Join the groups of rows that come from one repository."""
    used = [row for row in rows if row.used]
    keys = [
        (row.group, f"~{content_id(row.repository)}") if row.repository else (row.group,)
        for row in used
    ]
    for row, name in zip(used, joined(keys), strict=True):
        row.group = name


def _with_conversations(asked: Sequence[ExaminedLine], near: NearGroups) -> dict[str, str]:
    """prompt -> group, for the groups that conversations join or rename."""
    talking = [row for row in asked if row.conversation]
    # The prefix keeps a conversation's name from being taken for a prompt's id.
    names = joined([(near.of(row.prompt), f"~{row.conversation}") for row in talking])
    joint = {near.of(row.prompt): name for row, name in zip(talking, names, strict=True)}
    if not joint:
        return {}
    return {row.prompt: joint[group] for row in asked if (group := near.of(row.prompt)) in joint}


def _mark_same(group: Sequence[ExaminedLine]) -> None:
    answers = Counter(row.answer for row in group if row.answer)
    seen: set[int] = set()
    for row in group:
        _add(row, SAME_PROMPT)
        if len(answers) > 1 and row.answer:
            _add(row, CONTRADICTION)
        if row.answer in seen:
            _add(row, SAME_ANSWER)
        seen.add(row.answer or -row.line)


def _add(row: ExaminedLine, rule: str) -> None:
    if rule not in row.rules:
        row.rules = shared(in_order({*row.rules, rule}))
