"""What the fast engine needs of memory, and how many layers must run twice so that it fits."""

import math
from typing import Any

import torch
from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.events import Note, Reporter, ignore
from journeyman.machine.memory_limits import MemoryRoom
from journeyman.machine.process_memory import rss_bytes
from journeyman.settings import TrainSettings
from journeyman.train.engine.devices import CUDA, room_on
from journeyman.train.engine.fast.linear import Arithmetic, Method
from journeyman.train.engine.fast.shape import DecoderShape, shape_of

WEIGHT_BYTES: dict[Method, float] = {
    "fp32": 4,
    "bf16": 2,
    "bf16 widened": 2,
    "int8": 1,
    "int8 kernel": 1,
    "int8 widened": 1,
}
# The loss's chunks, one layer's gradients, and what the allocator holds back.
_HEADROOM_BYTES = 600 * 2**20
_GRADIENT_COPIES = 3
_SCORE_COPIES = 5
# Of the memory that can ever be had: the rest is for the file cache and for others.
_USABLE_SHARE = 5 / 6
# This program with its libraries, before a weight is loaded.
_PROGRAM_BYTES = 600 * 2**20


class ActivationBudget(Struct, frozen=True):
    """What the micro-batches of a run can keep for their backward. Bytes of one token.

    kept: all that one layer's backward reads; bare: that layer's input alone; working: what is
    alive while one layer is in hand. room: bytes of the machine beside the weights.
    """

    layers: int
    kept_bytes: float
    bare_bytes: float
    working_bytes: float
    room_bytes: float

    def recomputed_layers(self, tokens: int) -> int:
        """How many layers of a micro-batch keep their input alone and run again."""
        room = self.room_bytes - tokens * self.working_bytes
        kept, bare = tokens * self.kept_bytes, tokens * self.bare_bytes
        if room >= self.layers * kept:
            return 0
        # One layer that runs again keeps all it needs while it does.
        return min(self.layers, math.ceil((self.layers * kept + kept - room) / (kept - bare)))

    def whole_tokens(self) -> int:
        """The most tokens of a micro-batch of which no layer runs again."""
        return max(0, int(self.room_bytes / (self.layers * self.kept_bytes + self.working_bytes)))

    def activation_bytes(self, tokens: int, *, kept_bytes: float | None = None) -> float:
        """What all layers keep of a micro-batch. kept_bytes: measured, in place of the estimate."""
        again = self.recomputed_layers(tokens)
        whole = self.layers - again + min(1, again)
        kept = self.kept_bytes if kept_bytes is None else kept_bytes
        return tokens * (whole * kept + again * self.bare_bytes)

    def least_bytes(self, tokens: int) -> float:
        """What a micro-batch needs where every layer runs again."""
        return tokens * (self.working_bytes + self.layers * self.bare_bytes + self.kept_bytes)


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
    """What one layer keeps of one token for its backward: see `layer.Kept`."""
    narrow = 2 if arithmetic.activations is torch.bfloat16 else 4
    heads = 2 * shape.query_size + 2 * shape.key_size
    return 8 * shape.hidden + narrow * (heads + 2 * shape.intermediate)


def _usable_bytes(settings: TrainSettings, room: MemoryRoom) -> float:
    """What this process may take in all."""
    if settings.memory_gib is None:
        return _USABLE_SHARE * room.limit_bytes
    return settings.memory_gib * 2**30


def keeping_of(
    shape: DecoderShape,
    arithmetic: Arithmetic,
    settings: TrainSettings,
    room: MemoryRoom,
    *,
    wide_bytes: int = 0,
) -> ActivationBudget:
    """What can be kept, with `room` as it was before the weights were loaded.

    wide_bytes: what products take that are kept wide (`int8_plan`).
    """
    on_gpu = settings.device == CUDA
    held = 0 if on_gpu else rss_bytes() or 0
    usable = min(room.available_bytes, _usable_bytes(settings, room) - held)
    working = _GRADIENT_COPIES * 4.0 * (2 * shape.intermediate + shape.hidden)
    if on_gpu:
        # Attention without the processor's own operator makes each row's scores.
        working += _SCORE_COPIES * 4.0 * shape.heads * settings.max_tokens
    return ActivationBudget(
        layers=shape.layers,
        kept_bytes=kept_bytes_a_token(shape, arithmetic),
        bare_bytes=4.0 * shape.hidden,
        working_bytes=working,
        room_bytes=usable - weight_bytes(shape, arithmetic) - wide_bytes - _HEADROOM_BYTES,
    )


class Footprint(Struct, frozen=True):
    """What a run of the fast engine holds: all frozen weights in bytes, and what it can keep.

    room: of the device, before the weights are there.
    """

    weight_bytes: float
    keeping: ActivationBudget
    room: MemoryRoom


def footprint_of(
    config: Any,
    arithmetic: Arithmetic,
    settings: TrainSettings,
    room: MemoryRoom,
    *,
    wide_bytes: int = 0,
) -> Footprint:
    """The footprint of a model of the family, with `room` as it was before the weights."""
    shape = shape_of(config)
    keeping = keeping_of(shape, arithmetic, settings, room, wide_bytes=wide_bytes)
    return Footprint(weight_bytes(shape, arithmetic) + wide_bytes, keeping, room)


def has_twice_the_room(config: Any, arithmetic: Arithmetic, settings: TrainSettings) -> bool:
    """Whether micro-batches of twice the size would need no layer to run again.

    Then memory may be spent for time. Asked before the weights are loaded.
    """
    keeping = footprint_of(config, arithmetic, settings, room_on(settings.device)).keeping
    return keeping.recomputed_layers(2 * _most_tokens(settings)) == 0


def fitting_run(
    shape: DecoderShape,
    arithmetic: Arithmetic,
    settings: TrainSettings,
    report: Reporter = ignore,
    *,
    wide_bytes: int = 0,
) -> ActivationBudget:
    """What the run can keep, said where it is not all. MachineError where the least is too much."""
    room = room_on(settings.device)
    keeping = keeping_of(shape, arithmetic, settings, room, wide_bytes=wide_bytes)
    tokens = _most_tokens(settings)
    need = _least_need(shape, arithmetic, keeping, tokens) + wide_bytes
    if need > room.available_bytes:
        raise MachineError(
            f"training needs about {need / 2**30:.1f} GiB of memory, and "
            f"{room.available_bytes / 2**30:.1f} GiB are available",
            hint="lower `--micro-batch-tokens` or `--max-tokens`, or use `--precision bf16` or "
            "`--precision int8`",
        )
    if need + _PROGRAM_BYTES > (settings.memory_gib or math.inf) * 2**30:
        raise MachineError(
            f"training needs about {(need + _PROGRAM_BYTES) / 2**30:.1f} GiB of memory, and "
            f"`--memory-gib` is {settings.memory_gib:g}",
            hint="raise it, lower `--micro-batch-tokens` or `--max-tokens`, or use a narrower "
            "`--precision`",
        )
    again = keeping.recomputed_layers(tokens)
    if again:
        report(
            Note(
                f"{again} of {shape.layers} layers run twice in micro-batches of {tokens:,} "
                f"tokens, so that the memory is enough; up to {keeping.whole_tokens():,} tokens, "
                "none does"
            )
        )
    return keeping


def _most_tokens(settings: TrainSettings) -> int:
    return max(settings.micro_batch_tokens, settings.max_tokens)


def _least_need(
    shape: DecoderShape, arithmetic: Arithmetic, keeping: ActivationBudget, tokens: int
) -> float:
    """Bytes beside the program, with every layer of such a micro-batch run twice."""
    return weight_bytes(shape, arithmetic) + keeping.least_bytes(tokens) + _HEADROOM_BYTES


def shortage(
    config: Any, arithmetic: Arithmetic, settings: TrainSettings, room: MemoryRoom
) -> str | None:
    """Why a run in this arithmetic does not fit into the machine; None where it does.

    By the memory that can ever be had and not by what is free now, so that a run and its resumption
    come to the same.
    """
    spare = spare_bytes(config, arithmetic, settings, room)
    if spare >= 0:
        return None
    need = _usable_bytes(settings, room) - spare
    least = f"{arithmetic.forward} needs {need / 2**30:.1f} GiB at the least"
    if settings.memory_gib is not None:
        return f"{least}, and `--memory-gib` is {settings.memory_gib:g}"
    return f"{least}, and {room.limited_by} is {room.limit_bytes / 2**30:.1f} GiB"


def spare_bytes(
    config: Any, arithmetic: Arithmetic, settings: TrainSettings, room: MemoryRoom
) -> float:
    """What a run does not need of the memory that can ever be had, every layer run twice."""
    shape = shape_of(config)
    keeping = keeping_of(shape, arithmetic, settings, room)
    need = _least_need(shape, arithmetic, keeping, _most_tokens(settings)) + _PROGRAM_BYTES
    return _usable_bytes(settings, room) - need
