"""The page's drill-down: each task with what it asked, what each arm said and how that scored."""

from collections.abc import Sequence

from journeyman.evaluate.records import Evaluation, ScoredItem, Task
from journeyman.evaluate.words import seconds
from journeyman.pages.markup import Html, element

TITLE_LENGTH = 110


def task_details(evaluation: Evaluation) -> list[Html]:
    """One fold-out a task: what tuning broke first, then what it fixed, then the rest."""
    tags = _tags(evaluation)
    order = {"broken": 0, "fixed": 1, "": 2}
    tasks = sorted(evaluation.tasks, key=lambda task: order[tags.get(task.id, "")[:6].strip()])
    items: dict[str, list[ScoredItem]] = {}
    for item in evaluation.items:
        items.setdefault(item.task, []).append(item)
    return [_task(task, tags.get(task.id, ""), items.get(task.id, [])) for task in tasks]


def _tags(evaluation: Evaluation) -> dict[str, str]:
    """Task -> `broken S1 S4` or `fixed S2`; a task that is both is broken."""
    tags: dict[str, str] = {}
    for word in ("broken", "fixed"):
        for pair in evaluation.paired:
            for task in pair.broken_tasks if word == "broken" else pair.fixed_tasks:
                if tags.get(task, word).startswith(word):
                    tags[task] = f"{tags.get(task, word)} {pair.rung}"
    return tags


def _task(task: Task, tag: str, items: Sequence[ScoredItem]) -> Html:
    words = " ".join(task.prompt.split())
    title = words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1] + "…"
    marks = "; ".join([task.agent, *(f"{item.arm} {_marks(item)}" for item in items)])
    head = element(
        "summary",
        *([element("span", tag, class_="tag")] if tag else []),
        title,
        element("span", marks, class_="marks"),
    )
    asked = element("div", element("h3", "asked"), element("pre", _asked(task)), class_="wide")
    body = element("div", asked, *(_answer(item) for item in items), class_="pair")
    return element("details", head, body)


def _marks(item: ScoredItem) -> str:
    """`S0 yes, S1 limit, S2 yes`."""
    return ", ".join(
        f"{score.rung} {'yes' if score.passed else score.code or 'no'}" for score in item.scores
    )


def _asked(task: Task) -> str:
    return "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in task.messages)


def _answer(item: ScoredItem) -> Html:
    answer = item.answer
    tokens = "" if answer.answer_tokens is None else f", {answer.answer_tokens} tokens"
    facts = f"{seconds(answer.latency_s)}{tokens}, {answer.finish}"
    details = [
        element("p", f"{score.rung} {score.code}: {score.detail}", class_="soft")
        for score in item.scores
        if score.detail and not score.passed
    ]
    return element(
        "div",
        element("h3", f"{item.arm}  ({facts})"),
        element("pre", answer.text or answer.error),
        *details,
    )
