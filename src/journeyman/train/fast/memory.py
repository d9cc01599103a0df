"""What the fast engine needs of memory, and how many layers must run twice so that it fits."""

import math

import torch

from journeyman.errors import MachineError
from journeyman.events import Note, Reporter, ignore
from journeyman.settings import TrainSettings
from journeyman.train.fast.products import Arithmetic, Method
from journeyman.train.fast.shape import Shape
from journeyman.train.plan.resources import memory_room

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


def weight_bytes(shape: Shape, arithmetic: Arithmetic) -> float:
    """Memory of all frozen weights; the embedding is stored as it was published, here BF16."""

    def bytes_each(one: Arithmetic) -> float:
        forward = WEIGHT_BYTES[one.forward]
        return forward if one.forward == one.backward else forward + WEIGHT_BYTES[one.backward]

    table = shape.vocabulary * shape.hidden
    layers = shape.layers * shape.layer_parameters * bytes_each(arithmetic)
    return layers + table * (2 + bytes_each(arithmetic.of_the_head))


def kept_bytes_a_token(shape: Shape, arithmetic: Arithmetic) -> float:
    """What one layer keeps of one token for its backward: see `layer.Kept`."""
    narrow = 2 if arithmetic.activations is torch.bfloat16 else 4
    heads = 2 * shape.query_size + 2 * shape.key_size
    masks = 3 * shape.hidden + shape.query_size
    return 8 * shape.hidden + narrow * (heads + 2 * shape.intermediate) + masks


def layers_to_recompute(
    shape: Shape, arithmetic: Arithmetic, settings: TrainSettings, report: Reporter = ignore
) -> int:
    """How many layers keep their input alone. Raises MachineError where not even all are enough."""
    available = memory_room().available_bytes
    tokens = max(settings.micro_batch_tokens, settings.max_tokens)
    kept = tokens * kept_bytes_a_token(shape, arithmetic)
    bare = tokens * 4.0 * shape.hidden
    working = _GRADIENT_COPIES * tokens * 4.0 * (2 * shape.intermediate + shape.hidden)
    weights = weight_bytes(shape, arithmetic)
    room = available - weights - working - _HEADROOM_BYTES
    if room >= shape.layers * kept:
        return 0
    # One layer that runs again keeps all it needs while it does.
    number = math.ceil((shape.layers * kept + kept - room) / (kept - bare))
    if number > shape.layers:
        need = weights + working + shape.layers * bare + kept + _HEADROOM_BYTES
        raise MachineError(
            f"training needs about {need / 2**30:.1f} GiB of memory, and "
            f"{available / 2**30:.1f} GiB are available",
            hint="lower `--micro-batch-tokens` or `--max-tokens`, or use `--precision int8`",
        )
    report(Note(f"{number} of {shape.layers} layers run twice, so that the memory is enough"))
    return number
