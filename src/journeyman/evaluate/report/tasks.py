"""The page's drill-down: each task with its prompt, both models' answers and their scores."""

import difflib
from collections.abc import Iterator, Sequence

from msgspec import Struct

from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.evaluate.records.scores import EvaluationTask, PairedOutcomes, ScoredItem
from journeyman.formatting import seconds

TITLE_LENGTH = 110
DIFF_LINES = 400


class TextPart(Struct, frozen=True):
    """A text under its title."""

    title: str
    text: str


class TaskPart(Struct, frozen=True):
    """One task. `tag` says what tuning did to it, `marks` how each model scored.

    `changed` says what `diff` compares (`code` or `answer`); both are empty if the task scored the
    same.
    """

    tag: str
    title: str
    marks: str
    prompt: str
    answers: tuple[tuple[TextPart, ...], ...]
    checks: str
    changed: str
    diff: tuple[str, ...]


class SuiteTasksPart(Struct, frozen=True):
    """The tasks of one suite; the held-out split has no title."""

    title: str
    tasks: tuple[TaskPart, ...]


def task_parts(evaluation: Evaluation) -> Iterator[SuiteTasksPart]:
    """Every suite that has answers, each with the tasks that tuning broke and fixed first."""
    if evaluation.items:
        yield SuiteTasksPart("", _tasks(evaluation.tasks, evaluation.items, evaluation.paired))
    for suite in evaluation.suites:
        if suite.items:
            yield SuiteTasksPart(suite.title, _tasks(suite.tasks, suite.items, suite.paired))


def _tasks(
    tasks: Sequence[EvaluationTask], items: Sequence[ScoredItem], pairs: Sequence[PairedOutcomes]
) -> tuple[TaskPart, ...]:
    tags = _tags(pairs)
    order = {"broken": 0, "fixed": 1, "": 2}
    shown = sorted(tasks, key=lambda task: order[tags.get(task.id, "").partition(" ")[0]])
    by_task: dict[str, list[ScoredItem]] = {}
    # The models were asked in turns; here the base model always comes first.
    for one in sorted(items, key=lambda one: one.item.arm):
        by_task.setdefault(one.item.task, []).append(one)
    return tuple(_task(task, tags.get(task.id, ""), by_task.get(task.id, [])) for task in shown)


def _tags(pairs: Sequence[PairedOutcomes]) -> dict[str, str]:
    """Task -> `broken S1 S4` or `fixed S2`; a task that is both is broken."""
    tags: dict[str, str] = {}
    for word in ("broken", "fixed"):
        for pair in pairs:
            for task in pair.broken_tasks if word == "broken" else pair.fixed_tasks:
                if tags.get(task, word).startswith(word):
                    tags[task] = f"{tags.get(task, word)} {pair.rung}"
    return tags


def _task(task: EvaluationTask, tag: str, items: Sequence[ScoredItem]) -> TaskPart:
    words = " ".join(task.prompt.split())
    changed, diff = _diff(*items) if tag and len(items) == 2 else ("", ())
    return TaskPart(
        tag=tag,
        title=words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1] + "…",
        marks="; ".join([task.agent, *(f"{one.item.arm} {_marks(one)}" for one in items)]),
        prompt="\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in task.messages),
        answers=tuple(tuple(_answer(one)) for one in items),
        checks="\n\n".join(f"[{check.kind}]\n{check.source}" for check in task.checks),
        changed=changed,
        diff=diff,
    )


def _marks(scored: ScoredItem) -> str:
    """`S0 yes, S1 limit, S2 yes`."""
    return ", ".join(
        f"{score.rung} {'yes' if score.passed else score.code or 'no'}" for score in scored.scores
    )


def _diff(base: ScoredItem, tuned: ScoredItem) -> tuple[str, tuple[str, ...]]:
    """What tuning changed: lines of the code if both answers have some, else of the answers."""
    both = bool(base.code and tuned.code)
    old, new = (
        (one.code if both else one.item.answer.text).splitlines()[:DIFF_LINES]
        for one in (base, tuned)
    )
    lines = list(difflib.unified_diff(old, new, "base", "tuned", lineterm="", n=2))
    return "code" if both else "answer", tuple(lines or ["no difference"])


def _answer(scored: ScoredItem) -> Iterator[TextPart]:
    """The answer, its code if that is not the whole answer, and why it failed."""
    answer = scored.item.answer
    tokens = "" if answer.answer_tokens is None else f", {answer.answer_tokens} tokens"
    facts = f"{seconds(answer.latency_s)}{tokens}, {answer.finish}"
    yield TextPart(f"{scored.item.arm}  ({facts})", answer.text or answer.error)
    if scored.code and scored.code.strip() != answer.text.strip():
        yield TextPart(f"code, found by {scored.extract_rule}", scored.code)
    for score in scored.scores:
        if score.detail and not score.passed:
            yield TextPart(f"{score.rung}: {score.code}", score.detail)
