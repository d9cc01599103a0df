"""Memory and disk that a run needs, from its shape and from what the probe saw."""

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
_CHUNKS_AT_ONCE = 3
"""Logits, their float32 copy or shares, and the product's own buffer."""

_WIDE_AT_ONCE = 3
"""Gradients of the two wide inputs of an MLP and of its product, at the last layer."""

_ADAPTER_COPIES = 4
"""Value, gradient, and AdamW's two moments, all float32."""

_CHECKPOINT_COPIES = 3
_Q4_K_M_BYTES = 4_677_120_000 / 7_615_616_512
"""Bytes a parameter of Qwen2.5-7B in Q4_K_M (llama.cpp, tools/llama-bench/README.md)."""


def quantised_bytes(parameters: int) -> int:
    """Size of a GGUF file in Q4_K_M."""
    return round(parameters * _Q4_K_M_BYTES)


def saved_bytes_guess(shape: ModelShape, element_bytes: int) -> float:
    """What a layer keeps of a token where nothing was probed: the inputs of its products, the
    products themselves, and as many values of the hidden width for norms and sums."""
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
    """Peak memory of the run. saved_bytes: what one layer keeps of one token.

    With the hf engine, every layer keeps everything in the run's precision. room: of this machine,
    read here if it is not given.
    """
    settings = run.settings
    plan = run.recipe.fast.memory if run.recipe.fast else None
    element_bytes = ELEMENT_BYTES[settings.precision]
    largest = max((work for step in run.work() for work in step), key=lambda work: work.computed)
    adapter = shape.adapter_parameters(rank=settings.lora_r, targets=settings.lora_targets)
    parts = {
        "program_bytes": 0 if settings.device == CUDA else rss_bytes() or 0,
        "weights_bytes": element_bytes * shape.parameters
        if plan is None
        else round(plan.weight_bytes),
        "adapter_bytes": 4 * _ADAPTER_COPIES * adapter,
        "activation_bytes": round(
            saved_bytes * shape.layers * largest.computed
            if plan is None
            else plan.activation_budget.activation_bytes(largest.computed, kept_bytes=saved_bytes)
        ),
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
    """What is alive for a moment only: chunks of logits, or the widest gradients of one layer."""
    logits = min(CHUNK_BYTES, 4 * shape.vocabulary * largest.trained)
    head = _CHUNKS_AT_ONCE * logits + 2 * element_bytes * shape.hidden * largest.trained
    wide = _WIDE_AT_ONCE * element_bytes * shape.widest * largest.computed
    if plan is not None:
        wide = round(plan.activation_budget.working_bytes * largest.computed)
    return max(head, wide)


def disk_of(run: IntendedRun, shape: ModelShape, *, is_here: bool) -> DiskForecast:
    """What training writes, and what converting its result writes after it.

    is_here: whether the base's weights are on this disk.
    """
    settings = run.settings
    adapter = 4 * shape.adapter_parameters(rank=settings.lora_r, targets=settings.lora_targets)
    # The newest is whole before the oldest goes.
    kept = min(settings.keep_checkpoints, run.checkpoints) + 1
    return DiskForecast(
        checkpoints_bytes=kept * _CHECKPOINT_COPIES * adapter,
        final_bytes=adapter,
        merged_bytes=4 * shape.parameters,
        gguf_bytes=2 * shape.parameters + quantised_bytes(shape.parameters),
        download_bytes=0 if is_here else 2 * shape.parameters,
        free_bytes=free_bytes(settings.output_dir),
    )
