"""The charts of the page as numbers: where each line, dot and label lies. The page draws them.

Base and tuned are told apart by dashes and hollow dots, not by colour alone, and every chart has a
label that says in words what it shows. Places are pixels from the upper left corner.
"""

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from journeyman.evaluate.records.evaluation import Evaluation
from journeyman.evaluate.records.measurements import Targets
from journeyman.evaluate.records.scores import ArmId, PairedOutcomes
from journeyman.evaluate.report.terminal import difference_text
from journeyman.formatting import rate
from journeyman.records import Interval

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 52, WIDTH - 12, 12, HEIGHT - 34
REACH = 0.3
"""Difference of shares at each end of a bar; the text beside it says what lies beyond."""

Point = tuple[float, float]


class Axes(Struct, frozen=True):
    """What a chart's axes are called, in which unit, and how far they reach from 0."""

    x: str
    y: str
    x_most: float
    y_most: float

    def place(self, point: Point) -> Point:
        """Where a point lies on the picture; one beyond the axes lies at their end."""
        x = LEFT + (RIGHT - LEFT) * min(1.0, point[0] / self.x_most)
        y = BOTTOM - (BOTTOM - TOP) * min(1.0, point[1] / self.y_most)
        return round(x, 1), round(y, 1)


class Series(Struct, frozen=True):
    """Points of one model, in order of x."""

    arm: str
    points: Sequence[Point]


class Tick(Struct, frozen=True):
    """A number beside an axis, and its place along the axis."""

    place: float
    text: str


class Chart(Struct, frozen=True, kw_only=True):
    """A chart ready to draw. `target_x` and `target_y` are dashed lines, if not None."""

    label: str
    axes: Axes
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    target_x: float | None
    target_y: float | None
    dots: tuple[Series, ...]
    lines: tuple[Series, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


class IntervalBar(Struct, frozen=True):
    """An interval on a line of 200 pixels. `zero` and `target` are upright lines, if not None."""

    arm: str
    label: str
    low: float
    value: float
    high: float
    zero: float | None = None
    target: float | None = None


def chart(
    axes: Axes, *, label: str, lines: Sequence[Series] = (), dots: Sequence[Series] = (),
    target_x: float | None = None, target_y: float | None = None,
) -> Chart:  # fmt: skip
    """A chart of some points. The targets are in the units of the axes."""
    return Chart(
        label=label,
        axes=axes,
        x_ticks=tuple(Tick(axes.place((x, 0))[0], f"{x:g}") for x in ticks(axes.x_most)),
        y_ticks=tuple(Tick(axes.place((0, y))[1], f"{y:g}") for y in ticks(axes.y_most)),
        target_x=None if target_x is None else axes.place((target_x, 0))[0],
        target_y=None if target_y is None else axes.place((0, target_y))[1],
        dots=tuple(Series(one.arm, [axes.place(at) for at in one.points]) for one in dots),
        lines=tuple(Series(one.arm, [axes.place(at) for at in one.points]) for one in lines),
    )


def ticks(most: float) -> list[float]:
    """Four to six round numbers from 0 to `most`, which is above 0."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [round(step * number, 10) for number in range(math.floor(most / step + 1e-9) + 1)]


def latencies(evaluation: Evaluation) -> dict[ArmId, list[float]]:
    """The latencies of each model's answers, sorted."""
    seconds: dict[ArmId, list[float]] = {result.arm.id: [] for result in evaluation.arms}
    for item in (one.item for one in evaluation.items):
        if item.arm in seconds and item.answer.latency_s is not None:
            seconds[item.arm].append(item.answer.latency_s)
    return {arm: sorted(values) for arm, values in seconds.items()}


def latency_charts(evaluation: Evaluation) -> tuple[Chart | None, Chart | None]:
    """The share of answers by latency, and the latency by the length of the answer.

    None without any latency; the second is None, too, if the engine counted no tokens.
    """
    target, by_arm = evaluation.plan.targets.latency_s, latencies(evaluation)
    if not any(by_arm.values()):
        return None, None
    longest = max(target, *(max(seconds, default=0.0) for seconds in by_arm.values())) * 1.05
    return _share_by_time(evaluation, by_arm, longest), _time_by_length(evaluation, longest)


def _share_by_time(
    evaluation: Evaluation, by_arm: Mapping[ArmId, list[float]], longest: float
) -> Chart:
    """Of the planned answers: a failed one never comes."""
    planned, target = evaluation.plan.tasks, evaluation.plan.targets.latency_s
    steps = []
    for arm, seconds in by_arm.items():
        line, height = [(0.0, 0.0)], 0.0
        for number, latency in enumerate(seconds, start=1):
            line += [(latency, height), (latency, height := number / planned)]
        steps.append(Series(arm, [*line, (longest, height)]))
    within = (
        f"{arm}: {sum(latency < target for latency in seconds)} of {planned} within {target:g} s"
        for arm, seconds in by_arm.items()
    )
    axes = Axes("seconds", "share of planned answers", longest, 1.0)
    return chart(axes, label="; ".join(within), lines=steps, target_x=target)


def _time_by_length(evaluation: Evaluation, longest: float) -> Chart | None:
    dots = [
        Series(result.arm.id, _lengths(evaluation, result.arm.id)) for result in evaluation.arms
    ]
    most = max((x for one in dots for x, _ in one.points), default=0.0)
    if not most:
        return None
    lines = [Series(one.arm, line) for one in dots if (line := fitted(one.points))]
    label = f"seconds against tokens; the longest answer has {most:.0f} tokens"
    axes = Axes("tokens of the answer", "seconds", most * 1.05, longest)
    target = evaluation.plan.targets.latency_s
    return chart(axes, label=label, dots=dots, lines=lines, target_y=target)


def _lengths(evaluation: Evaluation, arm: ArmId) -> list[Point]:
    answers = (one.item.answer for one in evaluation.items if one.item.arm == arm)
    return [(a.answer_tokens, a.latency_s) for a in answers if a.answer_tokens and a.latency_s]


def fitted(points: Sequence[Point]) -> list[Point]:
    """The ends of the least-squares line through points; empty if they do not define one."""
    n = len(points)
    if n < 2:
        return []
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return []
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    ends = (min(x for x, _ in points), max(x for x, _ in points))
    return [(x, max(0.0, mean_y + slope * (x - mean_x))) for x in ends]


def memory_chart(evaluation: Evaluation, label: str) -> Chart | None:
    """The peak so far, answer by answer; None if no engine's memory was measured."""
    lines = []
    for result in evaluation.arms:
        memories = evaluation.memory_of(result.arm.id)
        gib = [memory.peak_bytes / 2**30 for memory in memories if memory.peak_bytes]
        lines.append(Series(result.arm.id, list(enumerate(gib, start=1))))
    longest = max((len(one.points) for one in lines), default=0)
    if not longest:
        return None
    limit = evaluation.plan.targets.memory_bytes / 2**30
    most = max([limit, *(y for one in lines for _, y in one.points)]) * 1.05
    axes = Axes("answers", "GiB at the peak so far", max(longest, 2), most)
    return chart(axes, label=label, lines=lines, target_y=limit)


def rate_bar(interval: Interval, arm: str, *, target: bool) -> IntervalBar:
    """A rate on a line from 0 to 1. target: whether to draw the target of S1."""
    low, value, high, goal = (
        round(4 + 192 * share, 1)
        for share in (interval.low, interval.share, interval.high, Targets().success)
    )
    return IntervalBar(arm, rate(interval), low, value, high, target=goal if target else None)


def difference_bar(pair: PairedOutcomes, margin: float) -> IntervalBar:
    """A difference on a line from -REACH to +REACH, with the margin that it must stay above."""

    def place(share: float) -> float:
        return round(100 + 96 * max(-1.0, min(1.0, share / REACH)), 1)

    interval = pair.difference
    return IntervalBar(
        "tuned",
        f"{difference_text(pair)} over {pair.n} pairs",
        place(interval.low),
        place(interval.difference),
        place(interval.high),
        zero=place(0),
        target=place(-margin),
    )
