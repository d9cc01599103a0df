"""Tasks, the models' answers to them, and their scores: the records that every suite uses."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from journeyman.machine.process_memory import ProcessMemory
from journeyman.records import Answer, Check, Interval, Message, Tool
from journeyman.stats import PairedDifference

ArmId = Literal["base", "tuned"]

RungId = Literal["S0", "S1", "S2", "S3", "S4", "S4t"]

RUNGS: Mapping[RungId, str] = {
    "S0": "served",
    "S1": "finished",
    "S2": "well-formed",
    "S3": "runs",
    "S4": "passes its checks",
    "S4t": "its tests tell right from wrong",
}
"""S4t is S4 for an agent whose answer is itself a test."""


class EvaluationTask(Struct, frozen=True):
    """One prompt to answer. Rows with equal messages are one task.

    `id` is a hash of the messages. `cluster` is equal for prompts that ask the same of any agent;
    only clusters count as independent. `messages` end before the assistant's turn, whose text is
    the `reference` answer. `max_tokens` limits this task's answer below the plan's limit. `rule`
    names the probe whose rules score the answer instead of code. `tools` are those on offer.
    """

    id: str
    cluster: str
    agent: str
    task_id: str | None
    messages: tuple[Message, ...]
    checks: tuple[Check, ...] = ()
    reference: str = ""
    max_tokens: int | None = None
    rule: str = ""
    tools: tuple[Tool, ...] = ()

    def longest(self, planned: int) -> int:
        """How many tokens an answer may have if the plan allows `planned`."""
        return planned if self.max_tokens is None else min(planned, self.max_tokens)

    @property
    def prompt(self) -> str:
        """What the user asked: the last turn."""
        return self.messages[-1].content if self.messages else ""

    @property
    def entry_point(self) -> str | None:
        """The name that its checks call, if they name one."""
        return next((check.entry_point for check in self.checks if check.entry_point), None)


CODE_AGENTS = frozenset({"coder", "tester"})
"""Agents whose answer is code. For the others only the form of the text is scored."""


def counts(rung: RungId, task: EvaluationTask) -> bool:
    """Whether a rung applies to a task: S3 needs an agent that writes code, S4 needs checks."""
    answer_is_tests = any(check.kind == "reference" for check in task.checks)
    if rung == "S3":
        return task.agent in CODE_AGENTS
    if rung == "S4t":
        return answer_is_tests
    return rung != "S4" or bool(task.rule) or (bool(task.checks) and not answer_is_tests)


class Score(Struct, frozen=True):
    """Whether an answer passes one rung; `passed` is None if that was not measured.

    `code` is the reason of a failure as a word (`limit`, `no_code`, …). If the answer is tests
    (S4t), they found `found` of `of` mutants.
    """

    rung: RungId
    passed: bool | None
    code: str = ""
    detail: str = ""
    found: int = 0
    of: int = 0


class Item(Struct, frozen=True):
    """One model's answer to one task as it came, and the memory that its engine had used by then.

    `other_load` is how many processor cores other programs kept busy meanwhile.
    """

    arm: ArmId
    task: str
    answer: Answer
    peak_memory_bytes: int | None = None
    load_s: float | None = None
    other_load: float | None = None
    memory: ProcessMemory | None = None


class ScoredItem(Struct, frozen=True):
    """An item with its scores, its code, the rule that found the code, and its decode rate.

    `strict`: a reader who takes only one closed block marked as Python finds the same code.
    """

    item: Item
    scores: tuple[Score, ...]
    code: str = ""
    extract_rule: str = ""
    strict: bool = False
    tokens_per_s: float | None = None

    def passed(self, rung: RungId) -> bool | None:
        """Whether it passes a rung; None if that was not measured."""
        return next((score.passed for score in self.scores if score.rung == rung), None)


class Rung(Struct, frozen=True):
    """How many of the planned tasks one model passes on a rung. `rate` is None if not measured.

    `agent` is empty for all tasks together. `note` says what the number does not mean. `strict` is
    the rate if only one closed block marked as Python counts as an answer's code; None on rungs
    that need no code.
    """

    id: RungId
    name: str
    agent: str
    rate: Interval | None
    codes: dict[str, int] = field(default_factory=dict)
    note: str = ""
    strict: Interval | None = None


class PairedOutcomes(Struct, frozen=True):
    """Paired comparison: `fixed` tasks only the tuned model passes, `broken` only the base model.

    `difference` is tuned minus base with its 95 % interval (Tango), `lower` and `upper` its
    one-sided bounds at the plan's alpha; `p` is McNemar's exact two-sided p.
    """

    rung: RungId
    n: int
    both: int
    fixed: int
    broken: int
    neither: int
    difference: PairedDifference
    lower: float
    upper: float
    p: float
    fixed_tasks: tuple[str, ...] = ()
    broken_tasks: tuple[str, ...] = ()


def decode_rate(answer: Answer) -> float | None:
    """Tokens per second after the first one; None if the parts were not measured."""
    if answer.latency_s is None or answer.first_token_s is None or not answer.answer_tokens:
        return None
    seconds = answer.latency_s - answer.first_token_s
    return (answer.answer_tokens - 1) / seconds if seconds > 0 else None
