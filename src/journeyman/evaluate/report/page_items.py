"""The page's drill-down: each task with what it asked, what each arm said and how that scored."""

import difflib
from collections.abc import Sequence

from journeyman.evaluate.records.evaluation import EvaluationTask, PairedOutcomes, ScoredItem
from journeyman.formatting import seconds
from journeyman.html.markup import Html, element

TITLE_LENGTH = 110
DIFF_LINES = 400

_MARKS = {"+": "ins", "-": "del"}


def task_details(
    tasks: Sequence[EvaluationTask], items: Sequence[ScoredItem], pairs: Sequence[PairedOutcomes]
) -> list[Html]:
    """One fold-out a task: what tuning broke first, then what it fixed, then the rest."""
    tags = _tags(pairs)
    order = {"broken": 0, "fixed": 1, "": 2}
    shown = sorted(tasks, key=lambda task: order[tags.get(task.id, "")[:6].strip()])
    by_task: dict[str, list[ScoredItem]] = {}
    # The arms were asked in turns; here the base always stands first.
    for item in sorted(items, key=lambda item: item.arm):
        by_task.setdefault(item.task, []).append(item)
    return [_task(task, tags.get(task.id, ""), by_task.get(task.id, [])) for task in shown]


def _tags(pairs: Sequence[PairedOutcomes]) -> dict[str, str]:
    """Task -> `broken S1 S4` or `fixed S2`; a task that is both is broken."""
    tags: dict[str, str] = {}
    for word in ("broken", "fixed"):
        for pair in pairs:
            for task in pair.broken_tasks if word == "broken" else pair.fixed_tasks:
                if tags.get(task, word).startswith(word):
                    tags[task] = f"{tags.get(task, word)} {pair.rung}"
    return tags


def _task(task: EvaluationTask, tag: str, items: Sequence[ScoredItem]) -> Html:
    words = " ".join(task.prompt.split())
    title = words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1] + "…"
    marks = "; ".join([task.agent, *(f"{item.arm} {_marks(item)}" for item in items)])
    head = element(
        "summary",
        *([element("span", tag, class_="tag")] if tag else []),
        title,
        element("span", marks, class_="marks"),
    )
    parts = [
        element("div", element("h3", "asked"), element("pre", _asked(task)), class_="wide"),
        *(_answer(item) for item in items),
    ]
    if task.checks:
        checks = "\n\n".join(f"[{check.kind}]\n{check.source}" for check in task.checks)
        parts.append(element("div", element("h3", "checked by"), element("pre", checks),
                             class_="wide"))  # fmt: skip
    if tag and len(items) == 2:
        parts.append(_compared(*items))
    return element("details", head, element("div", *parts, class_="pair"))


def _compared(base: ScoredItem, tuned: ScoredItem) -> Html:
    """What tuning changed, line by line: of the code where both have some, else of the answers."""
    both = bool(base.code and tuned.code)
    old, new = (
        (item.code if both else item.answer.text).splitlines()[:DIFF_LINES]
        for item in (base, tuned)
    )
    lines = list(difflib.unified_diff(old, new, "base", "tuned", lineterm="", n=2))
    marked = [
        element(_MARKS.get(line[:1], "span"), line + "\n") for line in lines or ["no difference"]
    ]
    what = "code" if both else "answer"
    return element(
        "div", element("h3", f"what changed in the {what}, base to tuned"),
        element("pre", *marked, class_="diff"), class_="wide",
    )  # fmt: skip


def _marks(item: ScoredItem) -> str:
    """`S0 yes, S1 limit, S2 yes`."""
    return ", ".join(
        f"{score.rung} {'yes' if score.passed else score.code or 'no'}" for score in item.scores
    )


def _asked(task: EvaluationTask) -> str:
    return "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in task.messages)


def _answer(item: ScoredItem) -> Html:
    answer = item.answer
    tokens = "" if answer.answer_tokens is None else f", {answer.answer_tokens} tokens"
    facts = f"{seconds(answer.latency_s)}{tokens}, {answer.finish}"
    details = [
        part
        for score in item.scores
        if score.detail and not score.passed
        for part in (element("h3", f"{score.rung}: {score.code}"), element("pre", score.detail))
    ]
    return element(
        "div",
        element("h3", f"{item.arm}  ({facts})"),
        element("pre", answer.text or answer.error),
        *([element("h3", f"its code ({item.extract_rule})"), element("pre", item.code)]
          if item.code and item.code.strip() != answer.text.strip() else []),
        *details,
    )  # fmt: skip
