"""Times a few seconds of the run itself, on a model of the same shape with few layers.

The engine trains micro-batches of the run with random weights, at two depths. The difference is the
cost of a layer, the rest is the same at every depth; the output layer is timed on its own. All
measurements take turns and the best of each counts, so that a moment's noise does not; the median
over the best is how unsteady the machine is (`slowdown`).
Covered: engines that implement `TrainingEngine`. Not covered: layers that differ from one another.
"""

import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from msgspec import Struct

from journeyman.machine.process_memory import peak_growth_bytes
from journeyman.machine.speed import Clock, best_s
from journeyman.settings import TrainSettings
from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.interface import TrainingEngine
from journeyman.train.engine.optimizer import Optimizer
from journeyman.train.engine.recipe import Recipe
from journeyman.train.forecast.probe_parts import (
    VOCABULARY,
    Build,
    full_precision_extra_s,
    output_layer_s,
    random_engine,
)
from journeyman.train.forecast.run import MicroBatchWork, work_of
from journeyman.train.forecast.shape import ModelShape

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_WEIGHT_BYTES = 1_300_000_000
_MOST_LAYERS = 10
# The most that one pass should take, and all rounds together.
_PASS_S = 2.5
_ROUNDS_S = 14.0
_MOST_ROUNDS = 5

_Measurement = tuple[int, int, bool]
"""Number of layers, index of the micro-batch, and whether with gradients."""


class DepthTimes(Struct, frozen=True):
    """The best time of one micro-batch at each depth in seconds, with gradients and without."""

    work: MicroBatchWork
    shallow_s: float
    deep_s: float
    shallow_forward_s: float
    deep_forward_s: float


class ProbeResult(Struct, frozen=True):
    """What the probe measured.

    shallow, deep: numbers of layers, equal if only one depth was probed. head_s: of one trained
    token. optimizer_s: of one update of `deep` layers. saved_bytes: what one layer keeps of one
    token for its backward pass. slowdown: median over best time. full_precision_s: how much longer
    a token takes forward because a calibration keeps layers in full precision.
    """

    shallow: int
    deep: int
    batches: tuple[DepthTimes, ...]
    head_s: float
    head_forward_s: float
    optimizer_s: float
    saved_bytes: float
    slowdown: float
    seconds: float
    full_precision_s: float = 0.0


class Depths(Struct, frozen=True):
    """How many layers are probed, and how many tokens a micro-batch may have there."""

    shallow: int
    deep: int
    most_tokens: int


def depths_for(shape: ModelShape, *, element_bytes: int, rate: float, tokens: int) -> Depths:
    """As many layers as memory and a pass of a few seconds allow: more are nearer to the run.

    rate: operations a second. tokens: of the longest micro-batch.
    """
    layer_bytes = max(1, shape.layer_parameters * element_bytes)
    layer_s = 4.0 * shape.layer_parameters * tokens / rate
    deep = min(shape.layers, _MOST_LAYERS, _MOST_WEIGHT_BYTES // layer_bytes)
    deep = max(1, min(deep, int(_PASS_S / layer_s)))
    most_tokens = int(max(64, tokens * min(1.0, _PASS_S / (deep * layer_s))))
    return Depths(min(2, deep - 1) if deep > 1 else 1, deep, most_tokens)


def measure(
    recipe: Recipe,
    shape: ModelShape,
    batches: Sequence[Sequence[TokenRow]],
    *,
    depths: Depths,
    build: Build = random_engine,
    clock: Clock = time.perf_counter,
) -> ProbeResult:
    """Probe some micro-batches of the run. Peak memory is about 2 GB for every model."""
    started = time.perf_counter()
    probed = _one_of_each_size([_fit(batch, depths.most_tokens) for batch in batches])
    engines = {layers: build(recipe, layers) for layers in sorted({depths.shallow, depths.deep})}
    times = _time_rounds(engines, probed, clock)
    head_s, head_forward_s = output_layer_s(shape, recipe, clock=clock)
    return ProbeResult(
        shallow=depths.shallow,
        deep=depths.deep,
        batches=tuple(
            DepthTimes(
                work_of(rows, padded=recipe.pads_rows),
                *(
                    min(times[layers, at, with_gradients])
                    for with_gradients in (True, False)
                    for layers in (depths.shallow, depths.deep)
                ),
            )
            for at, rows in enumerate(probed)
        ),
        head_s=head_s,
        head_forward_s=head_forward_s,
        optimizer_s=_optimizer_s(engines[depths.deep], recipe.settings, clock),
        saved_bytes=saved_bytes(engines, probed[-1]),
        slowdown=statistics.fmean(statistics.median(one) / min(one) for one in times.values()),
        full_precision_s=full_precision_extra_s(recipe.fast, clock=clock),
        seconds=time.perf_counter() - started,
    )


def _fit(rows: Sequence[TokenRow], most_tokens: int) -> list[TokenRow]:
    """The rows with ids of the small vocabulary, cut if together they have too many tokens."""
    each = max(2, most_tokens // len(rows))
    total = sum(len(row.ids) for row in rows)
    longest = each if total > most_tokens else total
    return [
        TokenRow(
            row.id,
            tuple(number % VOCABULARY for number in row.ids[:longest]),
            (*row.trained[: longest - 1], True)[: len(row.ids)],
        )
        for row in rows
    ]


def _one_of_each_size(batches: Sequence[list[TokenRow]]) -> list[list[TokenRow]]:
    """One micro-batch of each size: cut ones often have the same, and a large model takes long."""
    by_size = {sum(len(row.ids) for row in batch): batch for batch in batches}
    return [by_size[size] for size in sorted(by_size)]


def _time_rounds(
    engines: dict[int, TrainingEngine], batches: Sequence[Sequence[TokenRow]], clock: Clock
) -> dict[_Measurement, list[float]]:
    """Seconds of every depth and micro-batch, with gradients and without, in turns."""
    passes: dict[_Measurement, Callable[[], object]] = {}
    for layers, engine in engines.items():
        for at, rows in enumerate(batches):
            passes[layers, at, True] = _backward(engine, rows)
            passes[layers, at, False] = _forward(engine, rows)
    times: dict[_Measurement, list[float]] = {key: [] for key in passes}
    for engine in engines.values():
        # The first pass sets up kernels and memory, so it is not measured.
        _backward(engine, batches[-1])()
    end = clock() + _ROUNDS_S
    for number in range(_MOST_ROUNDS):
        if number and clock() > end:
            break
        for key, run_pass in passes.items():
            started = clock()
            run_pass()
            times[key].append(clock() - started)
    return times


def _backward(engine: TrainingEngine, rows: Sequence[TokenRow]) -> "Callable[[], object]":
    return lambda: engine.backward(rows, weight=1.0, seed=0)


def _forward(engine: TrainingEngine, rows: Sequence[TokenRow]) -> "Callable[[], object]":
    return lambda: engine.loss(rows)


def _optimizer_s(engine: TrainingEngine, settings: TrainSettings, clock: Clock) -> float:
    """Seconds to clip the gradients and update the engine's adapter."""
    optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)

    def update() -> None:
        optimizer.clip(settings.max_grad_norm)
        optimizer.step(settings.lr)

    return best_s(update, 3, clock=clock)


def saved_bytes(engines: dict[int, TrainingEngine], rows: Sequence[TokenRow]) -> float:
    """What one layer keeps of one token for its backward pass.

    By what autograd saves; for an engine without autograd, by how this process's memory grows (an
    upper bound with only one depth, because a layer's buffers count, too).
    """
    longest = max(len(row.ids) for row in rows)
    # Weights are saved, too; a shorter row saves as many, so the difference is without them.
    long, short = _row_of(longest), _row_of(longest // 2)
    saved = {
        layers: _autograd_bytes(engine, long) - _autograd_bytes(engine, short)
        for layers, engine in engines.items()
    }
    tokens = len(long.ids) - len(short.ids)
    if not any(saved.values()):
        saved = {layers: _growth_bytes(engine, long) for layers, engine in engines.items()}
        tokens = len(long.ids)
    shallow, deep = min(saved), max(saved)
    if shallow == deep:
        return saved[deep] / tokens / deep
    return max(0.0, (saved[deep] - saved[shallow]) / tokens / (deep - shallow))


def _row_of(length: int) -> TokenRow:
    return TokenRow("probe", (1,) * length, (False,) * (length - 1) + (True,))


def _growth_bytes(engine: TrainingEngine, row: TokenRow) -> int:
    return peak_growth_bytes(lambda: engine.backward([row], weight=1.0, seed=0)) or 0


def _autograd_bytes(engine: TrainingEngine, row: TokenRow) -> int:
    """What autograd saves in one pass, every storage counted once."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        engine.backward([row], weight=1.0, seed=0)
    return sum(storages.values())
