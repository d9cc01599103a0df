"""HumanEval: did tuning forget anything? Base and tuned model on the same public functions.

Asked as a chat, as the model will be served. The tasks are public and probably in the base model's
training data, so the difference counts and not the rate (the published prompts differ, too).
(Chen et al. 2021, arXiv 2107.03374.)
"""

import ast
import random

from journeyman.data.humaneval import HumanEvalTask, humaneval_tasks
from journeyman.errors import UsageError
from journeyman.evaluate.measuring.rates import LADDER
from journeyman.evaluate.records.scores import EvaluationTask
from journeyman.evaluate.scoring.extract_code import parse
from journeyman.evaluate.suites.suite_tasks import SuiteTasks
from journeyman.files import content_id
from journeyman.records import Check, Message

SYSTEM = "You are a helpful programming assistant."
REQUEST = "Complete this Python function. Answer with the whole function in one Python code block."


def humaneval_suite(limit: int | None, seed: int) -> SuiteTasks | None:
    """The tasks, or `limit` of them drawn by seed; None if the package is not installed."""
    known = humaneval_tasks()
    if known is None:
        return None
    if limit is not None and limit < 1:
        raise UsageError(f"`--limit-humaneval {limit}` leaves no tasks", hint="give 1 or more")
    count = len(known) if limit is None else min(limit, len(known))
    # S311: an order, not a secret.
    drawn = sorted(random.Random(seed).sample(range(len(known)), count))  # noqa: S311
    note = (
        "public tasks, probably in the base model's training data: the difference counts, not the "
        "rate"
    )
    if count < len(known):
        note = f"{count} of {len(known)} tasks, drawn with seed {seed}; {note}"
    return SuiteTasks(
        name="humaneval",
        title="HumanEval",
        tasks=tuple(_task(known[place]) for place in drawn),
        rungs=LADDER,
        note=note,
    )


def _task(task: HumanEvalTask) -> EvaluationTask:
    prompt = f"{REQUEST}\n\n```python\n{task.prompt.strip()}\n```"
    identity = content_id("humaneval", task.task_id, prompt)
    check = Check(
        "assert",
        f"{task.test}\n\ncheck({task.entry_point})\n",
        n=1,
        entry_point=task.entry_point,
        setup=_helpers(task),
    )
    return EvaluationTask(
        id=identity,
        cluster=identity,
        agent="coder",
        task_id=task.task_id,
        messages=(Message("system", SYSTEM), Message("user", prompt)),
        checks=(check,),
        reference=f"```python\n{task.prompt}{task.canonical_solution}\n```\n",
    )


def _helpers(task: HumanEvalTask) -> str:
    """The prompt's imports and helpers, without the function itself."""
    tree = parse(f"{task.prompt}    pass\n")
    if tree is None:
        return ""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.FunctionDef) and node.name == task.entry_point)
    ]
    return ast.unparse(ast.Module(kept, []))
