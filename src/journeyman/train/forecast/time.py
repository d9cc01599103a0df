"""The time of a run, from the measured times of a few of its micro-batches.

A layer's time is a line over its operations, so that short micro-batches keep their fixed cost. The
line is fitted to the probe and gives the time of every micro-batch of the run.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from journeyman.train.engine.fast.memory import ActivationBudget
from journeyman.train.forecast.memory_and_disk import ELEMENT_BYTES, checkpoint_bytes
from journeyman.train.forecast.probe import DepthTimes, ProbeResult
from journeyman.train.forecast.probe_parts import VOCABULARY
from journeyman.train.forecast.records import Machine, TimeForecast
from journeyman.train.forecast.run import IntendedRun, MicroBatchWork, layer_operations
from journeyman.train.forecast.shape import ModelShape

# Half-width of the range on a steady machine: how far the model itself may be off.
_LEAST_RANGE = 0.1
# A checkpoint's small files with their sync and rename, and the curves (measured; see docs).
_FILES_S = 0.05
# To build the engine and open the curves; to draw the losses and write the manifest.
_START_S, _END_S = 3.0, 1.0


class LinearFit(Struct, frozen=True):
    """seconds = at_zero + slope * operations; neither is negative."""

    at_zero: float
    slope: float

    def at(self, operations: float) -> float:
        """Seconds for so many operations."""
        return self.at_zero + self.slope * operations


class MicroBatchCost(Struct, frozen=True):
    """What a micro-batch costs, in seconds.

    fixed_s: of every micro-batch. head_s: output layer, of a trained token. full_precision_s: how
    much longer a computed token takes because layers are kept in full precision.
    """

    layer: LinearFit
    fixed_s: float
    head_s: float
    full_precision_s: float = 0.0

    def seconds(self, shape: ModelShape, work: MicroBatchWork) -> float:
        """The time of one micro-batch on the whole model."""
        layers_s = shape.layers * self.layer.at(layer_operations(shape, work))
        by_token_s = self.head_s * work.trained + self.full_precision_s * work.computed
        return self.fixed_s + layers_s + by_token_s


class MicroBatchCosts(Struct, frozen=True):
    """What a micro-batch costs in training and in validation, and an update, in seconds at best."""

    backward: MicroBatchCost
    forward: MicroBatchCost
    update_s: float

    def training_s(
        self, shape: ModelShape, work: MicroBatchWork, budget: ActivationBudget | None
    ) -> float:
        """One micro-batch with gradients; gradient checkpointing runs layers forward once more."""
        checkpointed = 0 if budget is None else budget.checkpointed_layers(work.computed)
        recompute_s = checkpointed * self.forward.layer.at(layer_operations(shape, work))
        return self.backward.seconds(shape, work) + recompute_s


def fit_line(points: Sequence[tuple[float, float]]) -> LinearFit:
    """The line with the least relative squares through points of (operations, seconds).

    Proportional with one point, or if the fixed part would be negative.
    """
    weights = [1 / (seconds * seconds) for _, seconds in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    if spread > 1e-9 * total * mean_x * mean_x:
        pairs = zip(weights, points, strict=True)
        slope = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in pairs) / spread
        if slope > 0 and mean_y - slope * mean_x >= 0:
            return LinearFit(mean_y - slope * mean_x, slope)
    return LinearFit(0.0, mean_y / mean_x)


def costs_of(measured: ProbeResult, shape: ModelShape) -> MicroBatchCosts:
    """The costs on the whole model, from the probe."""
    share = VOCABULARY / shape.vocabulary
    forward = [(one, one.shallow_forward_s, one.deep_forward_s) for one in measured.batches]
    backward = [(one, one.shallow_s, one.deep_s) for one in measured.batches]
    return MicroBatchCosts(
        backward=_cost(measured, shape, backward, measured.head_s, share),
        forward=_cost(measured, shape, forward, measured.head_forward_s, share),
        update_s=measured.optimizer_s * shape.layers / measured.deep,
    )


def _cost(
    measured: ProbeResult,
    shape: ModelShape,
    times: Iterable[tuple[DepthTimes, float, float]],
    head_s: float,
    share: float,
) -> MicroBatchCost:
    """head_s: of the whole vocabulary. share: how much of it the probed model has."""
    points, fixed = [], []
    between = measured.deep - measured.shallow
    for one, shallow_s, deep_s in times:
        probed_head_s = share * head_s * one.work.trained
        if between and deep_s > shallow_s:
            layer_s = (deep_s - shallow_s) / between
        else:
            layer_s = max(0.1 * deep_s, deep_s - probed_head_s) / measured.deep
        points.append((layer_operations(shape, one.work), layer_s))
        fixed.append(max(0.0, deep_s - measured.deep * layer_s - probed_head_s))
    return MicroBatchCost(
        fit_line(points), sum(fixed) / len(fixed), head_s, measured.full_precision_s
    )


def time_of(
    run: IntendedRun, shape: ModelShape, costs: MicroBatchCosts, machine: Machine
) -> TimeForecast:
    """The time of a run on a machine."""
    slowdown = machine.slowdown
    fast = run.recipe.fast
    budget = None if fast is None else fast.memory.activation_budget
    steps = [
        sum(costs.training_s(shape, work, budget) for work in step) + costs.update_s
        for step in run.work()
    ]
    steps_s = slowdown * sum(steps)
    one_validation_s = sum(costs.forward.seconds(shape, work) for work in run.validation_work())
    validation_s = slowdown * one_validation_s * run.validation_count
    one_checkpoint_s = _FILES_S + checkpoint_bytes(run, shape) / machine.disk_rate
    checkpoints_s = one_checkpoint_s * run.checkpoints
    weight_bytes = ELEMENT_BYTES[run.settings.precision] * shape.parameters
    start_s = _START_S + 2 * weight_bytes / machine.memory_rate
    total_s = start_s + steps_s + validation_s + checkpoints_s + _END_S
    width = _LEAST_RANGE + (slowdown - 1)
    rows = run.rows
    real = sum(len(rows[index].ids) for step in run.steps for index in step.rows)
    return TimeForecast(
        total_s=total_s,
        low_s=total_s * max(0.5, 1 - width),
        high_s=total_s * (1 + width),
        start_s=start_s,
        steps_s=steps_s,
        validation_s=validation_s,
        checkpoints_s=checkpoints_s,
        end_s=_END_S,
        first_step_s=slowdown * steps[0],
        real_tokens_per_s=real / steps_s,
    )
