"""The memory that the fast engine needs, and how many layers use gradient checkpointing to fit."""

import math
from typing import Any

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
# The loss's chunks, one layer's gradients, and what the allocator does not return.
_HEADROOM_BYTES = 600 * 2**20
_GRADIENT_COPIES = 3
_SCORE_COPIES = 5
# How much of the limit on a process's memory a run may take; the rest is for the file cache and for
# other programs.
_USABLE_SHARE = 5 / 6
# The program with its libraries, before a weight is loaded.
_PROGRAM_BYTES = 600 * 2**20


class ActivationBudget(Struct, frozen=True):
    """How much micro-batches can keep for their backward pass, in bytes a token.

    kept_bytes: what one layer's backward pass reads. bare_bytes: the layer's input only, which is
    what gradient checkpointing keeps. working_bytes: needed while one layer is computed.
    room_bytes: the memory besides the weights, in all.
    """

    layers: int
    kept_bytes: float
    bare_bytes: float
    working_bytes: float
    room_bytes: float

    def checkpointed_layers(self, tokens: int) -> int:
        """How many layers need gradient checkpointing for a micro-batch of so many tokens."""
        room = self.room_bytes - tokens * self.working_bytes
        kept, bare = tokens * self.kept_bytes, tokens * self.bare_bytes
        if room >= self.layers * kept:
            return 0
        # While a layer is recomputed, it keeps everything.
        return min(self.layers, math.ceil((self.layers * kept + kept - room) / (kept - bare)))

    def most_tokens_kept(self) -> int:
        """The largest micro-batch without gradient checkpointing, in tokens."""
        return max(0, int(self.room_bytes / (self.layers * self.kept_bytes + self.working_bytes)))

    def activation_bytes(self, tokens: int, *, kept_bytes: float | None = None) -> float:
        """What all layers keep of a micro-batch. kept_bytes: measured; by default the estimate."""
        checkpointed = self.checkpointed_layers(tokens)
        whole = self.layers - checkpointed + min(1, checkpointed)
        kept = self.kept_bytes if kept_bytes is None else kept_bytes
        return tokens * (whole * kept + checkpointed * self.bare_bytes)

    def least_bytes(self, tokens: int) -> float:
        """What a micro-batch needs with gradient checkpointing in every layer."""
        return tokens * (self.working_bytes + self.layers * self.bare_bytes + self.kept_bytes)


class MemoryPlan(Struct, frozen=True):
    """The memory of a run of the fast engine.

    weight_bytes: all frozen weights, with the full-precision layers of a calibration. room: of the
    device before the weights are loaded.
    """

    weight_bytes: float
    activation_budget: ActivationBudget
    room: MemoryRoom
    full_precision_bytes: int = 0

    def fits_twice(self, settings: TrainSettings) -> bool:
        """Whether micro-batches of twice the size would fit without gradient checkpointing."""
        return self.activation_budget.checkpointed_layers(2 * _most_tokens(settings)) == 0

    def with_full_precision(self, full_precision_bytes: int) -> "MemoryPlan":
        """The plan if layers in full precision take so many bytes more than in INT8."""
        more = full_precision_bytes - self.full_precision_bytes
        budget = self.activation_budget
        return replace(
            self,
            weight_bytes=self.weight_bytes + more,
            activation_budget=replace(budget, room_bytes=budget.room_bytes - more),
            full_precision_bytes=full_precision_bytes,
        )

    def least_bytes(self, settings: TrainSettings) -> float:
        """What the run needs besides the program, with gradient checkpointing in every layer."""
        activations = self.activation_budget.least_bytes(_most_tokens(settings))
        return self.weight_bytes + activations + _HEADROOM_BYTES

    def spare_bytes(self, settings: TrainSettings) -> float:
        """How much of the process's limit the run leaves; negative if it does not fit.

        It does not depend on what is free now, so that a resumed run decides the same.
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
    """The plan for a model of the Llama family. room: before the weights are loaded."""
    weights = weight_bytes(shape, arithmetic) + full_precision_bytes
    on_gpu = settings.device == CUDA
    resident = 0 if on_gpu else rss_bytes() or 0
    usable = min(room.available_bytes, _usable_bytes(settings, room) - resident)
    working = _GRADIENT_COPIES * 4.0 * (2 * shape.intermediate + shape.hidden)
    if on_gpu:
        # Attention by plain products keeps the scores of each row.
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
    """Memory of all frozen weights; the embedding stays as published, which is taken for BF16."""

    def bytes_each(one: Arithmetic) -> float:
        forward = WEIGHT_BYTES[one.forward]
        return forward if one.forward == one.backward else forward + WEIGHT_BYTES[one.backward]

    products = sum(
        parameters * bytes_each(arithmetic.of(group))
        for group, parameters in shape.group_parameters.items()
    )
    return products + 2 * shape.vocabulary * shape.hidden


def kept_bytes_a_token(shape: DecoderShape, arithmetic: Arithmetic) -> float:
    """What one layer keeps of one token for its backward pass, see `layer.LayerActivations`."""
    heads = 2 * shape.query_size + 2 * shape.key_size
    return 8 * shape.hidden + arithmetic.activations.itemsize * (heads + 2 * shape.intermediate)


def require_memory(plan: MemoryPlan, settings: TrainSettings) -> None:
    """Refuse a run that does not fit even with gradient checkpointing. Raises MachineError."""
    need, available = plan.least_bytes(settings), plan.room.available_bytes
    if need > available:
        raise MachineError(
            f"training needs about {need / 2**30:.1f} GiB of memory even with gradient "
            f"checkpointing, but only {available / 2**30:.1f} GiB are available",
            hint="lower `--micro-batch-tokens` or `--max-tokens`, or use `--precision bf16` or "
            "`--precision int8`",
        )
    if need + _PROGRAM_BYTES > (settings.memory_gib or math.inf) * 2**30:
        raise MachineError(
            f"training needs about {(need + _PROGRAM_BYTES) / 2**30:.1f} GiB of memory even with "
            f"gradient checkpointing, but `--memory-gib` is {settings.memory_gib:g}",
            hint="raise it, lower `--micro-batch-tokens` or `--max-tokens`, or use a smaller "
            "`--precision`",
        )


def report_checkpointing(plan: MemoryPlan, settings: TrainSettings, report: Reporter) -> None:
    """Report how many layers use gradient checkpointing, if any does."""
    budget, tokens = plan.activation_budget, _most_tokens(settings)
    checkpointed = budget.checkpointed_layers(tokens)
    if checkpointed:
        report(
            Note(
                f"gradient checkpointing in {checkpointed} of {budget.layers} layers, so that "
                f"micro-batches of {tokens:,} tokens fit into memory; up to "
                f"{budget.most_tokens_kept():,} tokens need none"
            )
        )


def shortage(
    config: Any, arithmetic: Arithmetic, settings: TrainSettings, room: MemoryRoom
) -> str | None:
    """Why a run in this arithmetic does not fit into memory; None if it does."""
    plan = memory_plan_of(shape_of(config), arithmetic, settings, room)
    spare = plan.spare_bytes(settings)
    if spare >= 0:
        return None
    need = _usable_bytes(settings, room) - spare
    least = f"{arithmetic.forward} needs at least {need / 2**30:.1f} GiB"
    if settings.memory_gib is not None:
        return f"{least}, but `--memory-gib` is {settings.memory_gib:g}"
    return f"{least}, but {room.limited_by} is {room.limit_bytes / 2**30:.1f} GiB"


def _most_tokens(settings: TrainSettings) -> int:
    return max(settings.micro_batch_tokens, settings.max_tokens)


def _usable_bytes(settings: TrainSettings, room: MemoryRoom) -> float:
    """How much memory this process may take in all."""
    if settings.memory_gib is None:
        return _USABLE_SHARE * room.limit_bytes
    return settings.memory_gib * 2**30
