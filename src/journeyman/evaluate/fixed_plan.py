"""The plan as it is fixed, written and hashed before the first answer.

What would count as success, by which bounds, with which models and how often these rows were looked
at: none of it can be chosen after the answers are known without another hash.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from journeyman.evaluate.costs import ModelPlan
from journeyman.evaluate.looks import look_key, look_number
from journeyman.evaluate.records import Arm, EvaluationPlan, EvaluationTask
from journeyman.files import write_json
from journeyman.stats import alpha_at_look


def fixed(
    plan: EvaluationPlan,
    arms: Sequence[Arm],
    tasks: Sequence[EvaluationTask],
    *,
    warm_tasks: int,
    commands: dict[str, tuple[str, ...]],
) -> EvaluationPlan:
    """The plan with its models, its look, the error it allows, and what is asked again warm.

    commands: how each arm is served. Only a server has a warm start, and only after another prompt.
    """
    look = look_number(plan.test_sha256, look_key(plan, arms))
    served = all(arm.engine == "llama.cpp" for arm in arms)
    warm = [task.id for task in tasks[:warm_tasks]] if served else []
    return replace(
        plan,
        look=look,
        alpha=alpha_at_look(look),
        arms=tuple(
            ModelPlan(arm.id, arm.engine, arm.sha256, arm.quantization, commands.get(arm.id, ()))
            for arm in arms
        ),
        warm_tasks=tuple(warm if len(warm) > 1 else ()),
    )


def prompts_sha256(tasks: Sequence[EvaluationTask]) -> str:
    """A hash over the tasks' ids, which are hashes of what they ask, in any order."""
    return hashlib.sha256("\n".join(sorted(task.id for task in tasks)).encode()).hexdigest()


def plan_sha256(plan: EvaluationPlan) -> str:
    """A hash over the whole plan, equal on every machine."""
    return hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()


def plan_path(output: Path) -> Path:
    """Where the plan of a result lies: beside it."""
    return output.with_suffix(".plan.json")


def write_plan(output: Path, plan: EvaluationPlan) -> str:
    """Write the plan beside the result to be, and give its hash."""
    write_json(plan_path(output), plan)
    return plan_sha256(plan)
