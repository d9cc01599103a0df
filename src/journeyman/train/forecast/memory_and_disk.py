"""The memory and disk that a run needs, from its shape and from what the probe measured."""

from typing import TYPE_CHECKING

from journeyman.machine.disk import free_bytes
from journeyman.machine.memory_limits import MemoryRoom, memory_room
from journeyman.machine.process_memory import rss_bytes
from journeyman.train.engine.devices import CUDA
from journeyman.train.engine.loss import CHUNK_BYTES
from journeyman.train.forecast.records import DiskForecast, MemoryForecast
from journeyman.train.forecast.run import IntendedRun, MicroBatchWork
from journeyman.train.forecast.shape import ModelShape

if TYPE_CHECKING:
    from journeyman.train.engine.fast.memory import MemoryPlan

ELEMENT_BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "int8": 1, "mixed": 3}
"""Bytes of a frozen weight."""
# A checkpoint has the adapter and AdamW's two moments.
_CHECKPOINT_COPIES = 3
# Value, gradient and two moments, all float32.
_ADAPTER_COPIES = 4
# Logits, their float32 copy or softmax, and the product's own buffer.
_LOGIT_COPIES = 3
# Gradients of the two inputs of an MLP's gate and of their product, in the last layer.
_WIDEST_COPIES = 3
# Bytes a parameter of Qwen2.5-7B in Q4_K_M (llama.cpp, tools/llama-bench/README.md).
_Q4_K_M_BYTES = 4_677_120_000 / 7_615_616_512


def quantised_bytes(parameters: int) -> int:
    """The size of a GGUF file in Q4_K_M."""
    return round(parameters * _Q4_K_M_BYTES)


def guess_saved_bytes(shape: ModelShape, element_bytes: int) -> float:
    """What a layer keeps of a token, without a probe: inputs and outputs of its linear layers, and
    4 times the hidden values for norms and sums."""
    per_layer = len(shape.linears) // shape.layers
    widths = sum(width + out for _, width, out in shape.linears[:per_layer])
    return element_bytes * (widths + 4.0 * shape.hidden)


def memory_of(
    run: IntendedRun,
    shape: ModelShape,
    *,
    saved_bytes: float,
    room: MemoryRoom | None = None,
) -> MemoryForecast:
    """Peak memory of the run. With the hf engine, every layer keeps its activations.

    saved_bytes: what one layer keeps of one token. room: by default that of this machine.
    """
    settings = run.settings
    plan = run.recipe.fast.memory if run.recipe.fast else None
    element_bytes = ELEMENT_BYTES[settings.precision]
    largest = max((work for step in run.work() for work in step), key=lambda work: work.computed)
    weights: float = element_bytes * shape.parameters
    activations = saved_bytes * shape.layers * largest.computed
    if plan is not None:
        budget = plan.activation_budget
        weights = plan.weight_bytes
        activations = budget.activation_bytes(largest.computed, kept_bytes=saved_bytes)
    parts = {
        "program_bytes": 0 if settings.device == CUDA else rss_bytes() or 0,
        "weights_bytes": round(weights),
        "adapter_bytes": 4 * _ADAPTER_COPIES * shape.adapter_parameters(settings),
        "activation_bytes": round(activations),
        "workspace_bytes": _workspace_bytes(shape, largest, element_bytes, plan),
    }
    if room is None:
        room = memory_room() if plan is None else plan.room
    return MemoryForecast(
        **parts,
        peak_bytes=sum(parts.values()),
        available_bytes=room.available_bytes + parts["program_bytes"],
        limit_bytes=room.limit_bytes,
        limited_by=room.limited_by,
    )


def _workspace_bytes(
    shape: ModelShape, largest: MicroBatchWork, element_bytes: int, plan: "MemoryPlan | None"
) -> int:
    """What is needed only for a moment: chunks of logits, or the widest gradients of one layer."""
    logits = min(CHUNK_BYTES, 4 * shape.vocabulary * largest.trained)
    head = _LOGIT_COPIES * logits + 2 * element_bytes * shape.hidden * largest.trained
    layer = _WIDEST_COPIES * element_bytes * shape.widest * largest.computed
    if plan is not None:
        layer = round(plan.activation_budget.working_bytes * largest.computed)
    return max(head, layer)


def checkpoint_bytes(run: IntendedRun, shape: ModelShape) -> int:
    """The size of a checkpoint."""
    return 4 * _CHECKPOINT_COPIES * shape.adapter_parameters(run.settings)


def disk_of(run: IntendedRun, shape: ModelShape, *, has_weights: bool) -> DiskForecast:
    """What training writes, and what converting its result writes afterwards.

    has_weights: whether the base model's weights are on this disk.
    """
    settings = run.settings
    # The newest checkpoint is complete before the oldest is deleted.
    kept = min(settings.keep_checkpoints, run.checkpoints) + 1
    return DiskForecast(
        checkpoints_bytes=kept * checkpoint_bytes(run, shape),
        final_bytes=4 * shape.adapter_parameters(settings),
        merged_bytes=4 * shape.parameters,
        gguf_bytes=2 * shape.parameters + quantised_bytes(shape.parameters),
        download_bytes=0 if has_weights else 2 * shape.parameters,
        free_bytes=free_bytes(settings.output_dir),
    )
