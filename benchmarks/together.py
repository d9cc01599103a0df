"""Estimates whether all processes of a comparison fit into memory together, before they start.

While one recipe is measured, the others keep their weights in memory; those that keep freed memory
also keep what their step needed.
"""

from collections.abc import Sequence
from typing import Any

from log_rows import PADDED_TOKENS
from workers import trl_has_bf16

from journeyman.machine.memory_limits import memory_room
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.arithmetic import arithmetic_of
from journeyman.train.engine.fast.memory import memory_plan_of
from journeyman.train.engine.fast.shape import DecoderShape, shape_of

# torch, transformers and what they import.
_PROGRAM_BYTES = 500 * 2**20
_TRL_PROGRAM_BYTES = 800 * 2**20
# Logits, their softmax, and the gradients of both.
_LOGITS = 4


def warning_of(names: Sequence[str], config: Any, rows: Sequence[TokenRow]) -> str | None:
    """The warning if they do not fit, else None."""
    needs = [_need(name, config, rows) for name in names]
    most = sum(held for held, _ in needs) + max(step for _, step in needs)
    available = memory_room().available_bytes
    if most <= available:
        return None
    return (
        f"the processes need about {most / 2**30:.1f} GiB together, and "
        f"{available / 2**30:.1f} GiB are available: leave recipes out, or use --one-at-a-time"
    )


def _need(name: str, config: Any, rows: Sequence[TokenRow]) -> tuple[float, float]:
    """Bytes that a recipe keeps while it waits, and how many more its step needs."""
    shape = shape_of(config)
    tokens = sum(len(row.ids) for row in rows)
    kind, _, precision = name.partition(" ")
    if kind == "fast":
        arithmetic = arithmetic_of(precision)  # type: ignore[arg-type]
        found = memory_plan_of(shape, arithmetic, TrainSettings(), memory_room())
        tokens = min(tokens, TrainSettings().micro_batch_tokens)
        working = (
            found.activation_budget.activation_bytes(tokens)
            + tokens * found.activation_budget.working_bytes
        )
        return _PROGRAM_BYTES + found.weight_bytes + working, 0.0
    is_bf16 = precision == "bf16" or (kind == "trl" and trl_has_bf16())
    tables = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    weights = (shape.layer_parameters * shape.layers + tables) * (2.0 if is_bf16 else 4.0)
    program = _TRL_PROGRAM_BYTES if kind == "trl" else _PROGRAM_BYTES
    longest = max(len(row.ids) for row in rows)
    return program + weights, _step_bytes(shape, PADDED_TOKENS if kind == "seed" else 2 * longest)


def _step_bytes(shape: DecoderShape, tokens: int) -> float:
    """Activations of all layers and the logits of every position, in FP32."""
    layer = 8 * shape.hidden + 2 * (shape.query_size + shape.key_size) + 4 * shape.intermediate
    return 4.0 * tokens * (shape.layers * layer + _LOGITS * shape.vocabulary)
