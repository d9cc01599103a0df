"""What the fast engine needs of memory, and how many layers use gradient checkpointing to fit."""

import math
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from journeyman.errors import MachineError
from journeyman.events import Note, Reporter
from journeyman.machine.memory_limits import MemoryRoom
from journeyman.machine.process_memory import rss_bytes
from journeyman.settings import TrainSettings
from journeyman.train.engine.devices import CUDA
from journeyman.train.engine.fast.linear import Arithmetic, Method
from journeyman.train.engine.fast.shape import DecoderShape, shape_of

WEIGHT_BYTES: dict[Method, float] = {
    "fp32": 4,
    "bf16": 2,
    "bf16 upcast": 2,
    "int8": 1,
    "int8 kernel": 1,
    "int8 upcast": 1,
}
# The loss's chunks, one layer's gradients, and what the allocator holds back.
_HEADROOM_BYTES = 600 * 2**20
_GRADIENT_COPIES = 3
_SCORE_COPIES = 5
# Of the memory that a process can ever have: the rest is for the file cache and for others.
_USABLE_SHARE = 5 / 6
# This program with its libraries, before a weight is loaded.
_PROGRAM_BYTES = 600 * 2**20


class ActivationBudget(Struct, frozen=True):
    """What the micro-batches of a run can keep for their backward pass. Bytes of one token.

    kept: all that one layer's backward reads. bare: that layer's input alone, which is what
    gradient checkpointing keeps. working: alive while one layer is computed. room: bytes of the
    machine beside the weights.
    """

    layers: int
    kept_bytes: float
    bare_bytes: float
    working_bytes: float
    room_bytes: float

    def checkpointed_layers(self, tokens: int) -> int:
        """How many layers of a micro-batch keep only their input and run again."""
        room = self.room_bytes - tokens * self.working_bytes
        kept, bare = tokens * self.kept_bytes, tokens * self.bare_bytes
        if room >= self.layers * kept:
            return 0
        # A layer that runs again keeps everything while it does.
        return min(self.layers, math.ceil((self.layers * kept + kept - room) / (kept - bare)))

    def most_tokens_kept(self) -> int:
        """The most tokens of a micro-batch that needs no gradient checkpointing."""
        return max(0, int(self.room_bytes / (self.layers * self.kept_bytes + self.working_bytes)))

    def activation_bytes(self, tokens: int, *, kept_bytes: float | None = None) -> float:
        """What all layers keep of a micro-batch. kept_bytes: measured, instead of the estimate."""
        checkpointed = self.checkpointed_layers(tokens)
        whole = self.layers - checkpointed + min(1, checkpointed)
        kept = self.kept_bytes if kept_bytes is None else kept_bytes
        return tokens * (whole * kept + checkpointed * self.bare_bytes)

    def least_bytes(self, tokens: int) -> float:
        """What a micro-batch needs if every layer uses gradient checkpointing."""
        return tokens * (self.working_bytes + self.layers * self.bare_bytes + self.kept_bytes)


class MemoryPlan(Struct, frozen=True):
    """What a run of the fast engine holds.

    weight_bytes: all frozen weights, full-precision layers of a calibration included. room: of the
    device, before the weights are there.
    """

    weight_bytes: float
    activation_budget: ActivationBudget
    room: MemoryRoom
    full_precision_bytes: int = 0

    def fits_twice(self, settings: TrainSettings) -> bool:
        """Whether micro-batches of twice the size would need no gradient checkpointing."""
        return self.activation_budget.checkpointed_layers(2 * _most_tokens(settings)) == 0

    def with_full_precision(self, full_precision_bytes: int) -> "MemoryPlan":
        """The plan when layers kept in full precision take so many bytes more."""
        more = full_precision_bytes - self.full_precision_bytes
        budget = self.activation_budget
        return replace(
            self,
            weight_bytes=self.weight_bytes + more,
            activation_budget=replace(budget, room_bytes=budget.room_bytes - more),
            full_precision_bytes=full_precision_bytes,
        )

    def least_bytes(self, settings: TrainSettings) -> float:
        """What the run needs beside the program, all layers with gradient checkpointing."""
        activations = self.activation_budget.least_bytes(_most_tokens(settings))
        return self.weight_bytes + activations + _HEADROOM_BYTES

    def spare_bytes(self, settings: TrainSettings) -> float:
        """What the run leaves of the memory that this process can ever have; negative: too little.

        Not of what is free now, so that a run and its resumption decide alike.
        """
        need = self.least_bytes(settings) + _PROGRAM_BYTES
        return _usable_bytes(settings, self.room) - need


def memory_plan_of(
    shape: DecoderShape,
    arithmetic: Arithmetic,
    settings: TrainSettings,
    room: MemoryRoom,
    *,
    full_precision_bytes: int = 0,
) -> MemoryPlan:
    """The plan for a model of the family. room: as it is before the weights are loaded."""
    weights = weight_bytes(shape, arithmetic) + full_precision_bytes
    on_gpu = settings.device == CUDA
    held = 0 if on_gpu else rss_bytes() or 0
    usable = min(room.available_bytes, _usable_bytes(settings, room) - held)
    working = _GRADIENT_COPIES * 4.0 * (2 * shape.intermediate + shape.hidden)
    if on_gpu:
        # Attention without the processor's own operator makes each row's scores.
        working += _SCORE_COPIES * 4.0 * shape.heads * settings.max_tokens
    budget = ActivationBudget(
        layers=shape.layers,
        kept_bytes=kept_bytes_a_token(shape, arithmetic),
        bare_bytes=4.0 * shape.hidden,
        working_bytes=working,
        room_bytes=usable - weights - _HEADROOM_BYTES,
    )
    return MemoryPlan(weights, budget, room, full_precision_bytes)


def weight_bytes(shape: DecoderShape, arithmetic: Arithmetic) -> float:
    """Memory of all frozen weights; the embedding is stored as it was published, here BF16."""

    def bytes_each(one: Arithmetic) -> float:
        forward = WEIGHT_BYTES[one.forward]
        return forward if one.forward == one.backward else forward + WEIGHT_BYTES[one.backward]

    products = sum(
        parameters * bytes_each(arithmetic.of(group))
        for group, parameters in shape.group_parameters.items()
    )
    return products + 2 * shape.vocabulary * shape.hidden


def kept_bytes_a_token(shape: DecoderShape, arithmetic: Arithmetic) -> float:
    """What one layer keeps of one token for its backward pass: see `layer.LayerActivations`."""
    narrow = 2 if arithmetic.activations is torch.bfloat16 else 4
    heads = 2 * shape.query_size + 2 * shape.key_size
    return 8 * shape.hidden + narrow * (heads + 2 * shape.intermediate)


def require_memory(plan: MemoryPlan, settings: TrainSettings) -> None:
    """Refuse a run that does not fit even with gradient checkpointing. Raises MachineError."""
    need, available = plan.least_bytes(settings), plan.room.available_bytes
    if need > available:
        raise MachineError(
            f"training needs about {need / 2**30:.1f} GiB of memory, and "
            f"{available / 2**30:.1f} GiB are available",
            hint="lower `--micro-batch-tokens` or `--max-tokens`, or use `--precision bf16` or "
            "`--precision int8`",
        )
    if need + _PROGRAM_BYTES > (settings.memory_gib or math.inf) * 2**30:
        raise MachineError(
            f"training needs about {(need + _PROGRAM_BYTES) / 2**30:.1f} GiB of memory, and "
            f"`--memory-gib` is {settings.memory_gib:g}",
            hint="raise it, lower `--micro-batch-tokens` or `--max-tokens`, or use a smaller "
            "`--precision`",
        )


def report_checkpointing(plan: MemoryPlan, settings: TrainSettings, report: Reporter) -> None:
    """Say how many layers use gradient checkpointing, if any does."""
    budget, tokens = plan.activation_budget, _most_tokens(settings)
    checkpointed = budget.checkpointed_layers(tokens)
    if checkpointed:
        report(
            Note(
                f"gradient checkpointing in {checkpointed} of {budget.layers} layers, to fit "
                f"micro-batches of {tokens:,} tokens into memory; up to "
                f"{budget.most_tokens_kept():,} tokens need none"
            )
        )


def shortage(
    config: Any, arithmetic: Arithmetic, settings: TrainSettings, room: MemoryRoom
) -> str | None:
    """Why a run in this arithmetic does not fit into the machine; None if it does."""
    plan = memory_plan_of(shape_of(config), arithmetic, settings, room)
    spare = plan.spare_bytes(settings)
    if spare >= 0:
        return None
    need = _usable_bytes(settings, room) - spare
    least = f"{arithmetic.forward} needs at least {need / 2**30:.1f} GiB"
    if settings.memory_gib is not None:
        return f"{least}, and `--memory-gib` is {settings.memory_gib:g}"
    return f"{least}, and {room.limited_by} is {room.limit_bytes / 2**30:.1f} GiB"


def _most_tokens(settings: TrainSettings) -> int:
    return max(settings.micro_batch_tokens, settings.max_tokens)


def _usable_bytes(settings: TrainSettings, room: MemoryRoom) -> float:
    """What this process may take in all."""
    if settings.memory_gib is None:
        return _USABLE_SHARE * room.limit_bytes
    return settings.memory_gib * 2**30
