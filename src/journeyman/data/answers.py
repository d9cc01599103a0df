"""What only the whole set shows: answers that contradict or repeat, prompts that were never sent.

`Whole` takes interactions one by one and keeps counts and 16-digit ids, no texts. `RULES` look at
one row: whether training would ask what was asked, and whether the role fits the task.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

from journeyman.data.facts import Rule
from journeyman.data.fences import without_thinking
from journeyman.data.groups import normalised
from journeyman.files import content_id
from journeyman.records import Interaction, Message

REPEATS = 3
"""An answer to so many different prompts answers none of them."""


class Group(Struct, frozen=True):
    """Rows that ask the same: where they stand, and how many different answers they have."""

    group: str
    lines: tuple[int, ...]
    answers: int
    producers: int


class Repeated(Struct, frozen=True):
    """One answer that several different prompts got."""

    lines: tuple[int, ...]
    start: str


class _Seen(Struct):
    lines: list[int]
    answers: set[str]
    producers: set[str]


class Whole:
    """Counts over all rows; `add` each one, then ask."""

    def __init__(self) -> None:
        self._groups: dict[str, _Seen] = {}
        self._answers: dict[str, list[int]] = defaultdict(list)
        self._prompts: dict[str, set[str]] = defaultdict(set)
        self._starts: dict[str, str] = {}

    def add(self, interaction: Interaction, group: str) -> None:
        """Take a row. group: the id of its prompt's group, exact or near."""
        seen = self._groups.setdefault(group, _Seen([], set(), set()))
        seen.lines.append(interaction.line)
        answer = (interaction.answer or "").strip()
        if not answer:
            return
        answer_id = content_id(normalised(answer))
        seen.answers.add(answer_id)
        seen.producers.add(interaction.producer or "")
        self._answers[answer_id].append(interaction.line)
        self._prompts[answer_id].add(group)
        if answer_id not in self._starts and len(self._answers[answer_id]) == 1:
            self._starts[answer_id] = answer[:60]

    def duplicates(self) -> list[Group]:
        """The groups of more than one row, in the order of their first line."""
        return [
            Group(group, tuple(seen.lines), len(seen.answers), len(seen.producers))
            for group, seen in self._groups.items()
            if len(seen.lines) > 1
        ]

    def contradictions(self) -> list[Group]:
        """The groups whose rows have different answers, but for spacing, case and punctuation."""
        return [group for group in self.duplicates() if group.answers > 1]

    def repeated(self) -> list[Repeated]:
        """Answers that `REPEATS` or more different prompts got, word by word."""
        return [
            Repeated(tuple(self._answers[answer]), self._starts[answer])
            for answer, prompts in self._prompts.items()
            if len(prompts) >= REPEATS
        ]


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
_TEST_WORD = re.compile(r"test|\bqa\b|coverage|\bassert", re.IGNORECASE)
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
    for role, words in _WORDS.items():
        first = words.search(task)
        if first is not None:
            at_start = 2 if first.start() == 0 else 0
            points.append((-len(words.findall(task)) - at_start, first.start(), role))
    return min(points)[2] if points else None


def has_test_word(task: str) -> bool:
    """Whether a task says a word about testing."""
    return _TEST_WORD.search(task) is not None


def has_test_code(answer: str) -> bool:
    """Whether an answer holds a line of a test, its reasoning left out."""
    return _TEST_CODE.search(without_thinking(answer)) is not None


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
    Rule("role-mismatch", "warning", "the task's words are another role's", _role_mismatch),
    Rule("tester-without-test", "warning", "a tester's row without any test", _no_test),
)
