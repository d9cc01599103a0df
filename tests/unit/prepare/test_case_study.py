"""The counts of a real log of 302 interactions, beside what others counted; skips without the log.

How many answers were cut off stands in tests/slow/test_token_truth.py: it needs vocabularies.
"""

from collections.abc import Callable

import pytest

from journeyman.data.interactions import read_interactions
from journeyman.data.prompt_groups import group_of
from journeyman.data.role_prompts import messages_for
from journeyman.prepare.rules import (
    answers,
    characters,
    code,
    licences,
    personal_data,
    secrets,
    wording,
)
from journeyman.prepare.rules.rule import RowRule
from journeyman.prepare.split.near_duplicates import NearDuplicates, prompt_text
from journeyman.records import Interaction, Message
from tests.logs import REAL_LOG, needs_real_log

pytestmark = needs_real_log


@pytest.fixture(scope="module")
def rows() -> list[Interaction]:
    found = [row for row in read_interactions(REAL_LOG) if isinstance(row, Interaction)]
    assert len(found) == 302
    return found


def _hits(rows: list[Interaction], rules: tuple[RowRule, ...], name: str) -> int:
    look = next(rule.find for rule in rules if rule.id == name)
    return sum(look(row) is not None for row in rows)


@pytest.mark.parametrize(
    ("rules", "name", "count"),
    [
        (wording.RULES, "question-back", 22),
        # 14 by another list of phrases; 3 of these are `# ...` alone.
        (wording.RULES, "left-open", 18),
        (wording.RULES, "refusal", 0),
        (code.RULES, "bad-python", 32),
        (characters.RULES, "mojibake", 0),
        (characters.RULES, "control-character", 0),
        (characters.RULES, "special-token", 0),
        (personal_data.RULES, "personal", 0),
        # `mypass`, which another program reports, is a stand-in.
        (secrets.RULES, "secret", 0),
        # 51 of 76 tasks without a word of testing, and none of these 51 has a test in its answer.
        (answers.RULES, "tester-without-test", 51),
        # 118 of 293 by another list of words; 112 of 285 by this one: a heuristic either way.
        (answers.RULES, "role-mismatch", 112),
    ],
)
def test_each_rule_matches_so_many_rows(
    rows: list[Interaction], rules: tuple[RowRule, ...], name: str, count: int
) -> None:
    assert _hits(rows, rules, name) == count


def test_201_of_211_answers_of_one_producer_begin_with_sure(rows: list[Interaction]) -> None:
    look = next(rule.find for rule in wording.RULES if rule.id == "opener")
    said = [look(row) for row in rows if row.producer == "replicate" and row.answer]
    assert (said.count("`sure`"), len(said)) == (201, 211)


def test_33_of_114_python_blocks_do_not_parse(rows: list[Interaction]) -> None:
    blocks = [one for row in rows for one in code.python_blocks(row.answer or "")]
    unclosed = [one for one in blocks if one.block.unclosed]
    closed = [one for one in blocks if not one.block.unclosed]
    assert (len(blocks), len(unclosed), len(closed)) == (114, 36, 78)
    assert sum(bool(one.fault) for one in unclosed) == 25
    assert sum(bool(one.fault) for one in closed) == 8


def test_no_prompt_is_trained_as_it_was_sent(rows: list[Interaction]) -> None:
    def differs(row: Interaction) -> tuple[str, ...] | None:
        prompt = [turn for turn in messages_for(row, "role") if turn.role != "assistant"]
        return answers.differs_from_sent(row, prompt)

    assert [differs(row) for row in rows] == [("system", "user")] * 302


def _whole(
    rows: list[Interaction], group: Callable[[Interaction], str]
) -> answers.AnswerStatistics:
    whole = answers.AnswerStatistics()
    for row in rows:
        key = answers.answer_key(row.answer)
        whole.add(row.line, group(row), key, row.producer or "")
    return whole


def test_69_prompts_occur_more_than_once(rows: list[Interaction]) -> None:
    whole = _whole(rows, lambda row: group_of((Message("user", row.task),)))
    duplicates = whole.duplicates()
    assert (len(duplicates), sum(len(group.lines) for group in duplicates)) == (69, 149)
    # The other two hold one answer and one failed call, which 69 of 69 counts as a difference.
    assert sum(group.answers > 1 for group in duplicates) == 67
    assert sum(group.producers > 1 for group in duplicates) == 48


def test_near_duplicates_add_nothing_to_the_exact_ones(rows: list[Interaction]) -> None:
    with NearDuplicates() as near:
        for row in rows:
            turns = (Message("user", row.task),)
            near.add(group_of(turns), prompt_text(turns))
        assert near.groups().joined == {}


def test_no_row_has_a_known_licence(rows: list[Interaction]) -> None:
    # The log names providers and no models.
    assert {licences.licence_rule(row.producer) for row in rows} == {"licence-unknown"}
