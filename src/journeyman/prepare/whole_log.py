"""Findings that need the whole log, added to each row; then the decision about each row.

Answers cut off by a token limit, prompts that occur more than once, answers that contradict or
repeat each other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

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
    Treatment,
    decide,
    in_order,
)
from journeyman.prepare.rules.token_limit import CutOffs
from journeyman.prepare.split.near_duplicates import NearGroups
from journeyman.prepare.split.union_find import joined


class RepeatedPrompts(Struct, frozen=True):
    """The groups of several rows with equal prompts (`same`) and with different near ones (`near`).

    `all_pairs`: every near pair was found, none was left to MinHash.
    """

    same: tuple[SamePromptRows, ...]
    near: tuple[SamePromptRows, ...]
    repeated_answers: int
    all_pairs: bool


def add_cut_offs(rows: Sequence[ExaminedLine], cut_offs: CutOffs) -> None:
    """Let the token count decide about cut-off answers, except for what the text proves."""
    for row in rows:
        was_counted = (row.producer, row.max_tokens) in cut_offs.counts
        if row.line in cut_offs.lines:
            _add(row, CUT_OFF)
        elif was_counted and row.weak_end:
            row.rules = shared(tuple(rule for rule in row.rules if rule != CUT_OFF))


def add_groups(rows: Sequence[ExaminedLine], near: NearGroups) -> RepeatedPrompts:
    """Mark the rows whose prompt or answer occurs more than once; set each row's `group`."""
    prompted = [row for row in rows if row.prompt]
    names = _with_conversations(prompted, near)
    same, nearly = AnswerStatistics(), AnswerStatistics()
    for row in prompted:
        row.group = names.get(row.prompt) or near.of(row.prompt)
        same.add(row.line, row.prompt, row.answer, row.producer)
        nearly.add(row.line, near.of(row.prompt), row.answer, row.producer)
    same_groups, near_groups, repeated = same.duplicates(), nearly.duplicates(), nearly.repeated()
    marked = {line for one in same_groups for line in one.lines}
    marked |= {line for one in near_groups for line in one.lines}
    marked |= {line for one in repeated for line in one.lines}
    by_line = {row.line: row for row in prompted if row.line in marked}
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


def add_decisions(rows: Sequence[ExaminedLine], treatments: Mapping[str, Treatment]) -> None:
    """Set what becomes of each row. A dropped row need not be renderable."""
    for row in rows:
        if row.id is None:
            row.action, row.reason = "quarantined", row.fault
            continue
        decision = decide(row.rules, treatments)
        row.action, row.reason = decision.action, decision.reason
        if row.fault and row.action != "dropped":
            row.action, row.reason = "quarantined", row.fault


def separate_near_prompts(rows: Sequence[ExaminedLine]) -> None:
    """Keep only rows with the same prompt or conversation in one group, not near prompts."""
    used = [row for row in rows if row.used]
    _regroup(used, [(row.prompt, row.conversation or "") for row in used])


def join_repositories(rows: Sequence[ExaminedLine]) -> None:
    """Join the groups of rows from the same repository."""
    used = [row for row in rows if row.used]
    names = [content_id(row.repository) if row.repository else "" for row in used]
    _regroup(used, [(row.group, name) for row, name in zip(used, names, strict=True)])


def _regroup(rows: Sequence[ExaminedLine], keys: Sequence[tuple[str, str]]) -> None:
    """Join rows that share a key. keys: an id, and a name that rows share or an empty text."""
    # The prefix keeps names of conversations and repositories apart from ids of prompts.
    chains = [(key, f"~{name}") if name else (key,) for key, name in keys]
    for row, group in zip(rows, joined(chains), strict=True):
        row.group = group


def _with_conversations(rows: Sequence[ExaminedLine], near: NearGroups) -> dict[str, str]:
    """prompt -> group, for the groups that conversations join or rename."""
    talking = [row for row in rows if row.conversation]
    # The prefix keeps names of conversations apart from ids of prompts.
    names = joined([(near.of(row.prompt), f"~{row.conversation}") for row in talking])
    joint = {near.of(row.prompt): name for row, name in zip(talking, names, strict=True)}
    if not joint:
        return {}
    return {row.prompt: joint[group] for row in rows if (group := near.of(row.prompt)) in joint}


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
