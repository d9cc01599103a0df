"""The plan of an evaluation: test rows as tasks, their contamination, and what will be measured.

The plan is written and hashed before the first answer: the targets, the bounds, the models and how
often these rows were used cannot be chosen afterwards without another hash.
Rows with equal messages are one task: a greedy model gives them one answer, so repeats would only
look like more evidence.
"""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from journeyman.data.dataset import TRAIN, VAL, read_examples
from journeyman.data.prompt_groups import group_of
from journeyman.errors import UsageError
from journeyman.evaluate.asking.test_set_uses import use_key, use_number
from journeyman.evaluate.records.evaluation import Arm, Contamination, EvaluationPlan
from journeyman.evaluate.records.measurements import ModelPlan
from journeyman.evaluate.records.scores import EvaluationTask
from journeyman.files import content_id, sha256_of, write_json
from journeyman.records import Example, Message, Tool
from journeyman.settings import EvaluateSettings
from journeyman.stats import alpha_at_use


class PlanWithTasks(Struct, frozen=True):
    """The plan, its tasks in the order they are asked, and their contamination."""

    plan: EvaluationPlan
    tasks: tuple[EvaluationTask, ...]
    leak: Contamination


def make_plan(settings: EvaluateSettings) -> PlanWithTasks:
    """Read the test rows (the first `limit`) and compare them with the splits beside them."""
    if settings.limit is not None and settings.limit < 1:
        raise UsageError(f"`--limit {settings.limit}` leaves no rows", hint="give 1 or more")
    if settings.max_tokens < 1:
        raise UsageError(f"`--max-tokens {settings.max_tokens}` leaves no answer", hint="try 512")
    rows, tasks = tasks_in_order(settings.test_data, settings.limit, settings.seed)
    plan = EvaluationPlan(
        test_data=str(settings.test_data),
        test_sha256=sha256_of(settings.test_data),
        rows=rows,
        tasks=len(tasks),
        clusters=len({task.cluster for task in tasks}),
        tasks_with_checks=sum(bool(task.checks) for task in tasks),
        max_tokens=settings.max_tokens,
        threads=settings.threads,
        seed=settings.seed,
        limit=settings.limit,
        prompts_sha256=prompts_sha256(tasks),
    )
    return PlanWithTasks(plan, tuple(tasks), find_contamination(tasks, settings.test_data.parent))


def tasks_in_order(
    test_data: Path, limit: int | None, seed: int
) -> tuple[int, list[EvaluationTask]]:
    """How many rows count (the first `limit`), and their tasks in the order they are asked."""
    rows = read_examples(test_data)[:limit]
    tasks = tasks_of(rows)
    random.Random(seed).shuffle(tasks)  # noqa: S311 - an order, not a secret
    return len(rows), tasks


def tasks_of(rows: Sequence[Example]) -> list[EvaluationTask]:
    """The distinct prompts of some rows, in order, each with the checks of all its rows."""
    tasks: dict[str, EvaluationTask] = {}
    for row in rows:
        task = _task(row)
        known = tasks.get(task.id)
        if known is not None:
            checks = tuple(dict.fromkeys((*known.checks, *task.checks)))
            task = replace(known, checks=checks)
        tasks[task.id] = task
    return list(tasks.values())


def _task(row: Example) -> EvaluationTask:
    messages = row.messages[:-1]
    return EvaluationTask(
        id=task_key(messages, row.tools),
        cluster=group_of(row.messages),
        agent=row.agent,
        task_id=row.task_id,
        messages=messages,
        checks=row.checks,
        reference=row.messages[-1].content,
        tools=row.tools,
    )


def task_key(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """A task's id: a hash of its messages and of the tools on offer."""
    offered = (part for one in tools for part in (one.name, one.description, one.parameters))
    return content_id(*(part for turn in messages for part in _parts(turn)), *offered)


def _parts(turn: Message) -> tuple[str, ...]:
    calls = (part for call in turn.tool_calls for part in (call.name, call.arguments))
    return (turn.role, turn.content, *calls)


def find_contamination(tasks: Sequence[EvaluationTask], folder: Path) -> Contamination:
    """The tasks whose prompt, in any spelling, is in train.jsonl or val.jsonl of a folder."""
    files = [folder / name for name in (TRAIN, VAL) if (folder / name).is_file()]
    seen = {group_of(row.messages) for path in files for row in _rows(path)}
    return Contamination(
        tasks=tuple(task.id for task in tasks if task.cluster in seen),
        of=len(tasks),
        files=tuple(str(path) for path in files),
    )


def _rows(path: Path) -> list[Example]:
    # A small dataset may have an empty validation split, which read_examples refuses.
    return read_examples(path) if path.stat().st_size else []


def complete_plan(
    plan: EvaluationPlan,
    arms: Sequence[Arm],
    tasks: Sequence[EvaluationTask],
    *,
    warm_tasks: int,
    commands: dict[str, tuple[str, ...]],
) -> EvaluationPlan:
    """The plan with its models, the test-set use with its allowed error, and the warm tasks.

    commands: how each model is served. Only a server can be warm, and only after another prompt.
    """
    use = use_number(plan.test_sha256, use_key(plan, arms))
    served = all(arm.engine == "llama.cpp" for arm in arms)
    warm = [task.id for task in tasks[:warm_tasks]] if served else []
    return replace(
        plan,
        look=use,
        alpha=alpha_at_use(use),
        arms=tuple(
            ModelPlan(arm.id, arm.engine, arm.sha256, arm.quantization, commands.get(arm.id, ()))
            for arm in arms
        ),
        warm_tasks=tuple(warm if len(warm) > 1 else ()),
    )


def prompts_sha256(tasks: Sequence[EvaluationTask]) -> str:
    """A hash over the tasks' ids, which are hashes of their prompts, in any order."""
    return hashlib.sha256("\n".join(sorted(task.id for task in tasks)).encode()).hexdigest()


def plan_sha256(plan: EvaluationPlan) -> str:
    """A hash over the whole plan, equal on every machine."""
    return hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()


def plan_path(output: Path) -> Path:
    """The plan's file, beside the result."""
    return output.with_suffix(".plan.json")


def write_plan(output: Path, plan: EvaluationPlan) -> str:
    """Write the plan beside the result to come, and give its hash."""
    write_json(plan_path(output), plan)
    return plan_sha256(plan)
