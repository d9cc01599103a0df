"""Answers that contradict or repeat each other, prompts that were never sent, and wrong roles.

`AnswerStatistics` takes rows one by one and keeps numbers, no texts. `RULES` look at one row: does
the role fit the task?
"""

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from msgspec import Struct

from journeyman.data.markdown import without_thinking
from journeyman.data.prompt_groups import normalised
from journeyman.files import content_id
from journeyman.prepare.repeats import repeats
from journeyman.prepare.rules.rule import RowRule
from journeyman.records import Interaction, Message

REPEATS = 3
"""An answer to this many different prompts probably answers none of them."""


class SamePromptRows(Struct, frozen=True):
    """Rows with the same prompt: their lines, and how many different answers and producers."""

    group: str
    lines: tuple[int, ...]
    answers: int
    producers: int


class RepeatedAnswer(Struct, frozen=True):
    """One answer that several different prompts got, and the lines that have it."""

    answer: int
    lines: tuple[int, ...]


class AnswerStatistics:
    """Statistics over all rows: `add` each one, then query. About 40 bytes a row, no texts."""

    def __init__(self) -> None:
        self._lines, self._groups = array("q"), array("q")
        self._answers, self._producers = array("Q"), array("q")
        self._group_numbers: dict[str, int] = {}
        self._producer_numbers: dict[str, int] = {}

    def add(self, line: int, group: str, answer: int, producer: str) -> None:
        """Add a row. group: the id of its prompt's group; answer: from `answer_key`."""
        self._lines.append(line)
        self._groups.append(self._group_numbers.setdefault(group, len(self._group_numbers)))
        self._answers.append(answer)
        numbers = self._producer_numbers
        self._producers.append(numbers.setdefault(producer, len(numbers)))

    def duplicates(self) -> list[SamePromptRows]:
        """The groups of more than one row, in the order of their first line."""
        names = list(self._group_numbers)
        found = []
        for rows in repeats(np.asarray(self._groups)):
            answered = [at for at in rows if self._answers[at]]
            found.append(
                SamePromptRows(
                    names[self._groups[rows[0]]],
                    tuple(self._lines[at] for at in rows),
                    len({self._answers[at] for at in answered}),
                    len({self._producers[at] for at in answered}),
                )
            )
        return sorted(found, key=lambda group: group.lines)

    def repeated(self) -> list[RepeatedAnswer]:
        """Answers that `REPEATS` or more different prompts got, word for word."""
        found = [
            RepeatedAnswer(self._answers[rows[0]], tuple(self._lines[at] for at in rows))
            for rows in repeats(np.asarray(self._answers))
            if self._answers[rows[0]] and len({self._groups[at] for at in rows}) >= REPEATS
        ]
        return sorted(found, key=lambda one: one.lines)


def answer_key(answer: str | None) -> int:
    """A number, equal for answers that differ only in case, spacing and punctuation; 0: none."""
    text = (answer or "").strip()
    return int(content_id(normalised(text)), 16) if text else 0


def differs_from_sent(
    interaction: Interaction, prompt: Sequence[Message]
) -> tuple[str, ...] | None:
    """The turns in which the training prompt differs from what was sent; None if not logged.

    prompt: the conversation up to where the assistant starts. Compared character by character: with
    another system prompt, or `Task: ` before the task, a model gets another question.
    """
    if not interaction.sent:
        return None
    roles = Counter[str]()
    found = []
    pairs: dict[tuple[str, int], list[str | None]] = {}
    for place, turns in enumerate((interaction.sent, prompt)):
        roles.clear()
        for turn in turns:
            roles[turn.role] += 1
            pairs.setdefault((turn.role, roles[turn.role]), [None, None])[place] = turn.content
    for (role, number), (sent, trained) in pairs.items():
        if sent != trained:
            found.append(role if number == 1 else f"{role} {number}")
    return tuple(found)


_WORD = re.compile(r"\w+")
# The words that show which role a task is for; the first word of a task counts most.
_WORDS: Mapping[str, re.Pattern[str]] = {
    "tester": re.compile(
        r"\b(?:tests?|testing|tested|pytest|unittest|coverage|assert\w*|mock\w*|fixtures?|qa"
        r"|validat\w+|verif\w+|edge cases?)\b",
        re.IGNORECASE,
    ),
    "reviewer": re.compile(
        r"\b(?:review\w*|audit\w*|critique|inspect\w*|code smells?|checklist)\b", re.IGNORECASE
    ),
    "researcher": re.compile(
        r"\b(?:research\w*|compar\w+|investigat\w+|analy[sz]\w+|evaluat\w+|survey|explain\w*"
        r"|what (?:is|are)|why|pros and cons|trade-?offs?|document\w*|benchmark\w*"
        r"|stud(?:y|ies))\b",
        re.IGNORECASE,
    ),
    "coordinator": re.compile(
        r"\b(?:plan\w*|coordinat\w+|roadmap|sprint|milestones?|schedul\w+|priorit\w+|organi[sz]\w+"
        r"|decompos\w+|break (?:it )?down|delegat\w+|assign\w*|project management)\b",
        re.IGNORECASE,
    ),
    "coder": re.compile(
        r"\b(?:implement\w*|write|cod(?:e|ing)|creat\w+|build\w*|refactor\w*|fix\w*|develop\w*"
        r"|functions?|class(?:es)?|methods?|api|add|design\w*|extract\w*|optimi[sz]\w+|convert"
        r"|debug\w*|interface|decorator|module)\b",
        re.IGNORECASE,
    ),
}
# The first words of the expressions above that have several words.
_PHRASES = frozenset({"edge", "code", "what", "pros", "trade", "break", "project"})
_TEST_WORD = re.compile(r"test|\bqa\b|coverage|\bassert", re.IGNORECASE)
# Every match of the next expression contains one of these.
_TEST_HINTS = (
    "assert",
    "def test_",
    "unittest",
    "pytest",
    "expect(",
    "it(",
    "describe(",
    "@Test",
    "[Fact]",
    "[Test",
)
_TEST_CODE = re.compile(
    r"\bdef test_|\bassert\b|\bassert[A-Z]\w+\(|\bunittest\b|\bpytest\b|\bexpect\(|\bit\("
    r"|\bdescribe\(|@Test\b|\[Fact\]|\[Test",
)


def role_by_words(task: str) -> str | None:
    """The role that a task is for, by its words; None if no word shows it.

    A word at the start counts three times: it says what to do. If two roles have equally many
    words, the earlier word decides.
    """
    task = task.strip()
    points: list[tuple[int, int, str]] = []
    begun = frozenset[str]().union(*map(_roles_begun_by, _WORD.findall(task)))
    for role, words in _WORDS.items():
        first = words.search(task) if role in begun else None
        if first is not None:
            at_start = 2 if first.start() == 0 else 0
            points.append((-len(words.findall(task)) - at_start, first.start(), role))
    return min(points)[2] if points else None


# Tasks have few different words, and most words start no role's expression.
@lru_cache(maxsize=1 << 15)
def _roles_begun_by(word: str) -> frozenset[str]:
    """The roles whose expressions may match where this word begins; a superset."""
    if word.casefold() in _PHRASES:
        return frozenset(_WORDS)
    return frozenset(role for role, words in _WORDS.items() if words.match(word))


def has_test_word(task: str) -> bool:
    """Whether a task mentions testing."""
    return _TEST_WORD.search(task) is not None


def has_test_code(answer: str) -> bool:
    """Whether an answer contains a line of a test, outside its `<think>` parts."""
    text = without_thinking(answer)
    if not any(hint in text for hint in _TEST_HINTS):
        return False
    return _TEST_CODE.search(text) is not None


def _role_mismatch(interaction: Interaction) -> str | None:
    by_words = role_by_words(interaction.task)
    if by_words is None or by_words == interaction.agent or interaction.agent not in _WORDS:
        return None
    return f"logged for `{interaction.agent}`, the words fit `{by_words}`"


def _no_test(interaction: Interaction) -> str | None:
    if interaction.agent != "tester" or has_test_word(interaction.task):
        return None
    if has_test_code(interaction.answer or ""):
        return None
    return "no test in the task or in the answer"


RULES = (
    RowRule("role-mismatch", "warning", "the task's words fit another role", _role_mismatch),
    RowRule(
        "tester-without-test",
        "warning",
        "a tester's row without a test in task or answer",
        _no_test,
    ),
)
