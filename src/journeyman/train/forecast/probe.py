"""A few seconds of the run itself, on a model of the same shape with few layers.

The engine trains real micro-batches of the run with random weights, at two depths; the difference
is what a layer costs, and the rest is what every depth costs. The output layer is timed by itself.
Rounds are taken in turn and the best of each counts, so that a moment's noise ends nowhere; what
the median was above the best is the machine's own unrest (`slowdown`).
Covered: engines behind `TrainingEngine`. Not covered: layers that differ from one another.
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

_WEIGHTS_LIMIT_BYTES = 1_300_000_000
_MOST_LAYERS = 10
_PASS_S = 2.5
_ROUNDS_S = 14.0
_MOST_ROUNDS = 5


class DepthTimes(Struct, frozen=True):
    """The best time of one micro-batch at each depth, seconds: with gradients and without."""

    work: MicroBatchWork
    shallow_s: float
    deep_s: float
    shallow_forward_s: float
    deep_forward_s: float


class ProbeResult(Struct, frozen=True):
    """What was found. `shallow` and `deep` are numbers of layers, equal where one alone fits.

    head seconds are for one trained token; `optimizer_s` for one update of `deep` layers;
    `saved_bytes` what one layer keeps of one token for the backward pass; `full_precision_s`
    what a token costs more forward because a calibration keeps products in full precision.
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
    """How many layers are probed, and how many tokens a micro-batch may have."""

    shallow: int
    deep: int
    most_tokens: int


def depths_for(shape: ModelShape, *, element_bytes: int, rate: float, tokens: int) -> Depths:
    """As deep as memory and a pass of a few seconds allow: deeper is nearer to the run.

    rate: operations a second. tokens: of the longest micro-batch.
    """
    layer_bytes = max(1, shape.layer_parameters * element_bytes)
    layer_s = 4.0 * shape.layer_parameters * tokens / rate
    deep = min(shape.layers, _MOST_LAYERS, _WEIGHTS_LIMIT_BYTES // layer_bytes)
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
    """Probe some micro-batches of the run. Peak memory is about 2 GB, whatever the model."""
    started = time.perf_counter()
    cut = different([fitting(batch, depths.most_tokens) for batch in batches])
    numbers = sorted({depths.shallow, depths.deep})
    engines = {number: build(recipe, number) for number in numbers}
    rounds = _rounds(engines, cut, clock)
    deep = engines[depths.deep]
    head_s, head_forward_s = output_layer_s(shape, recipe, clock=clock)
    return ProbeResult(
        shallow=depths.shallow,
        deep=depths.deep,
        batches=tuple(
            DepthTimes(
                work_of(rows, padded=recipe.pads_rows),
                *(
                    min(rounds[number, place, kind])
                    for kind in (True, False)
                    for number in _pair(depths)
                ),
            )
            for place, rows in enumerate(cut)
        ),
        head_s=head_s,
        head_forward_s=head_forward_s,
        optimizer_s=_optimizer_s(deep, recipe.settings, clock),
        saved_bytes=saved_bytes(engines, cut[-1]),
        slowdown=statistics.fmean(
            statistics.median(times) / min(times) for times in rounds.values()
        ),
        full_precision_s=full_precision_extra_s(recipe.fast, clock=clock),
        seconds=time.perf_counter() - started,
    )


def _pair(depths: Depths) -> tuple[int, int]:
    return depths.shallow, depths.deep


def fitting(rows: Sequence[TokenRow], most_tokens: int) -> list[TokenRow]:
    """The rows with ids of the small vocabulary, cut where together they have too many tokens."""
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


def different(batches: Sequence[list[TokenRow]]) -> list[list[TokenRow]]:
    """One of each size: cut ones are often alike, and seconds are dear on a large model."""
    by_size = {sum(len(row.ids) for row in batch): batch for batch in batches}
    return [by_size[size] for size in sorted(by_size)]


_Key = tuple[int, int, bool]


def _rounds(
    engines: dict[int, TrainingEngine], batches: Sequence[Sequence[TokenRow]], clock: Clock
) -> dict[_Key, list[float]]:
    """Seconds of every depth and micro-batch, with gradients (True) and without, in turn."""
    acts: dict[_Key, Callable[[], object]] = {}
    for number, engine in engines.items():
        for place, rows in enumerate(batches):
            acts[number, place, True] = _backward(engine, rows)
            acts[number, place, False] = _forward(engine, rows)
    times: dict[_Key, list[float]] = {key: [] for key in acts}
    for engine in engines.values():
        # The first pass of all finds its ways (kernels, memory): it is no measurement.
        _backward(engine, batches[-1])()
    end = clock() + _ROUNDS_S
    for taken in range(_MOST_ROUNDS):
        if taken and clock() > end:
            break
        for key, act in acts.items():
            began = clock()
            act()
            times[key].append(clock() - began)
    return times


def _backward(engine: TrainingEngine, rows: Sequence[TokenRow]) -> "Callable[[], object]":
    return lambda: engine.backward(rows, weight=1.0, seed=0)


def _forward(engine: TrainingEngine, rows: Sequence[TokenRow]) -> "Callable[[], object]":
    return lambda: engine.loss(rows)


def _optimizer_s(engine: TrainingEngine, settings: TrainSettings, clock: Clock) -> float:
    """One clipping and update of the engine's adapter."""
    optimizer = Optimizer(engine.parameters(), weight_decay=settings.weight_decay)

    def update() -> None:
        optimizer.clip(settings.max_grad_norm)
        optimizer.step(settings.lr)

    return best_s(update, 3, clock=clock)


def saved_bytes(engines: dict[int, TrainingEngine], rows: Sequence[TokenRow]) -> float:
    """What one layer keeps of one token between forward and backward.

    By autograd's own account; of an engine that does without autograd, by the growth of this
    process's memory (an upper bound where one depth alone fits: a layer's buffers count too).
    """
    longest = max(len(row.ids) for row in rows)
    # Weights are kept too; they do not grow with the tokens, so the shorter row takes them out.
    long, short = _row_of(longest), _row_of(longest // 2)
    grown = {
        number: _kept(engine, long) - _kept(engine, short) for number, engine in engines.items()
    }
    tokens = len(long.ids) - len(short.ids)
    if not any(grown.values()):
        grown = {number: _growth(engine, long) for number, engine in engines.items()}
        tokens = len(long.ids)
    shallow, deep = min(grown), max(grown)
    if shallow == deep:
        return grown[deep] / tokens / deep
    return max(0.0, (grown[deep] - grown[shallow]) / tokens / (deep - shallow))


def _growth(engine: TrainingEngine, row: TokenRow) -> int:
    return peak_growth_bytes(lambda: engine.backward([row], weight=1.0, seed=0)) or 0


def _row_of(length: int) -> TokenRow:
    return TokenRow("probe", (1,) * length, (False,) * (length - 1) + (True,))


def _kept(engine: TrainingEngine, row: TokenRow) -> int:
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        engine.backward([row], weight=1.0, seed=0)
    return sum(storages.values())
