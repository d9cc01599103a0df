"""What only the whole set shows: answers that contradict or repeat, prompts that were never sent.

`AnswerStatistics` takes rows one by one and keeps numbers, no texts. `RULES` look at
one row: whether training would ask what was asked, and whether the role fits the task.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from msgspec import Struct

from journeyman.data.markdown import without_thinking
from journeyman.data.prompt_groups import normalised
from journeyman.files import content_id
from journeyman.prepare.rules.completeness import RowRule
from journeyman.records import Interaction, Message

REPEATS = 3
"""An answer to so many different prompts answers none of them."""


class SamePromptRows(Struct, frozen=True):
    """Rows that ask the same: where they stand, and how many different answers they have."""

    group: str
    lines: tuple[int, ...]
    answers: int
    producers: int


class RepeatedAnswer(Struct, frozen=True):
    """One answer that several different prompts got."""

    answer: int
    lines: tuple[int, ...]


class AnswerStatistics:
    """Counts over all rows; `add` each one, then ask. About 40 bytes a row, no texts."""

    def __init__(self) -> None:
        self._lines, self._groups = array("q"), array("q")
        self._answers, self._producers = array("Q"), array("q")
        self._group_numbers: dict[str, int] = {}
        self._producer_numbers: dict[str, int] = {}

    def add(self, line: int, group: str, answer: int, producer: str) -> None:
        """Take a row. group: the id of its prompt's group; answer: what `answer_key` gives."""
        self._lines.append(line)
        self._groups.append(self._group_numbers.setdefault(group, len(self._group_numbers)))
        self._answers.append(answer)
        numbers = self._producer_numbers
        self._producers.append(numbers.setdefault(producer, len(numbers)))

    def duplicates(self) -> list[SamePromptRows]:
        """The groups of more than one row, in the order of their first line."""
        names = list(self._group_numbers)
        found = []
        for rows in _runs(self._groups):
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

    def contradictions(self) -> list[SamePromptRows]:
        """The groups whose rows have different answers, but for spacing, case and punctuation."""
        return [group for group in self.duplicates() if group.answers > 1]

    def repeated(self) -> list[RepeatedAnswer]:
        """Answers that `REPEATS` or more different prompts got, word by word."""
        found = [
            RepeatedAnswer(self._answers[rows[0]], tuple(self._lines[at] for at in rows))
            for rows in _runs(self._answers)
            if self._answers[rows[0]] and len({self._groups[at] for at in rows}) >= REPEATS
        ]
        return sorted(found, key=lambda one: one.lines)


def answer_key(answer: str | None) -> int:
    """A number that is equal for answers that differ only in how they are written; 0: none."""
    text = (answer or "").strip()
    return int(content_id(normalised(text)), 16) if text else 0


def _runs(keys: "array[int]") -> Iterator[list[int]]:
    """The positions of each key that stands more than once, in their order."""
    values = np.asarray(keys)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))[: len(ordered)]
    ends = np.append(starts[1:], len(ordered))
    for run in np.flatnonzero(ends - starts > 1):
        yield order[starts[run] : ends[run]].tolist()


def differs_from_sent(
    interaction: Interaction, prompt: Sequence[Message]
) -> tuple[str, ...] | None:
    """The turns in which a prompt to train on is not what was sent; None where the log is silent.

    prompt: the conversation up to where the assistant starts. Compared letter by letter: another
    system prompt, or `Task: ` before the task, is another question to a model.
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
# The words by which a task tells whose work it is; the first word of a task counts most.
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
# First words of what is more than one word above.
_PHRASES = frozenset({"edge", "code", "what", "pros", "trade", "break", "project"})
_TEST_WORD = re.compile(r"test|\bqa\b|coverage|\bassert", re.IGNORECASE)
# Every match of the next holds one of these.
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
    """Whose work a task is by its words; None where no word says so.

    A word at the task's start counts three times: it is what shall be done. Where two roles have
    as many words, the earlier word decides.
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


# Tasks have few different words, and none of them starts most roles' expressions.
@lru_cache(maxsize=1 << 15)
def _roles_begun_by(word: str) -> frozenset[str]:
    """The roles whose words may stand where this one begins; a superset."""
    if word.casefold() in _PHRASES:
        return frozenset(_WORDS)
    return frozenset(role for role, words in _WORDS.items() if words.match(word))


def has_test_word(task: str) -> bool:
    """Whether a task says a word about testing."""
    return _TEST_WORD.search(task) is not None


def has_test_code(answer: str) -> bool:
    """Whether an answer holds a line of a test, its reasoning left out."""
    spoken = without_thinking(answer)
    if not any(hint in spoken for hint in _TEST_HINTS):
        return False
    return _TEST_CODE.search(spoken) is not None


def _role_mismatch(interaction: Interaction) -> str | None:
    by_words = role_by_words(interaction.task)
    if by_words is None or by_words == interaction.agent or interaction.agent not in _WORDS:
        return None
    return f"`{interaction.agent}` was asked, the words say `{by_words}`"


def _no_test(interaction: Interaction) -> str | None:
    if interaction.agent != "tester" or has_test_word(interaction.task):
        return None
    if has_test_code(interaction.answer or ""):
        return None
    return "neither task nor answer tests anything"


RULES = (
    RowRule("role-mismatch", "warning", "the task's words are another role's", _role_mismatch),
    RowRule("tester-without-test", "warning", "a tester's row without any test", _no_test),
)
