"""Small charts as SVG: told apart by dashes and hollow marks, not by colour alone.

Every chart has a text that says what it shows (`role=img`, `aria-label`), and its numbers stand in
a table or a sentence beside it.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from journeyman.html.markup import Html, element

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 34


class Series(Struct, frozen=True):
    """Points of one arm, in order of x. `joined`: as a line, else as single marks."""

    arm: str
    points: Sequence[tuple[float, float]]
    joined: bool = True


class Axes(Struct, frozen=True):
    """What a chart's axes are called, in which unit, and how far they reach from 0."""

    x: str
    y: str
    x_most: float
    y_most: float

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Where a point lies on the picture."""
        x = LEFT + (WIDTH - LEFT - RIGHT) * point[0] / self.x_most
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, point[1] / self.y_most)
        return round(x, 1), round(y, 1)


def chart(
    axes: Axes, series: Sequence[Series], *, says: str, upright: float | None = None,
    level: float | None = None,
) -> Html:  # fmt: skip
    """A chart. upright: x of a dashed target line; level: y of one; says: what it shows."""
    parts = [*_grid(axes)]
    for value, ends in ((upright, _upright), (level, _level)):
        if value is not None:
            (x1, y1), (x2, y2) = ends(axes, value)
            parts.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="target"))
    for one in series:
        parts += _drawn(axes, one)
    return element(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=says, class_="chart"
    )


def _upright(axes: Axes, x: float) -> tuple[tuple[float, float], tuple[float, float]]:
    x = min(x, axes.x_most)
    return axes.place((x, 0)), axes.place((x, axes.y_most))


def _level(axes: Axes, y: float) -> tuple[tuple[float, float], tuple[float, float]]:
    y = min(y, axes.y_most)
    return axes.place((0, y)), axes.place((axes.x_most, y))


def _grid(axes: Axes) -> list[Html]:
    parts = []
    for value in ticks(axes.x_most):
        x, y = axes.place((value, 0))
        parts.append(element("text", f"{value:g}", x=x, y=y + 14, text_anchor="middle"))
    for value in ticks(axes.y_most):
        (x1, y), (x2, _) = axes.place((0, value)), axes.place((axes.x_most, value))
        parts.append(element("line", x1=x1, x2=x2, y1=y, y2=y, class_="grid"))
        parts.append(element("text", f"{value:g}", x=x1 - 6, y=y + 4, text_anchor="end"))
    parts.append(element("text", axes.x, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor="end"))
    parts.append(element("text", axes.y, x=LEFT + 4, y=TOP + 2))
    return parts


def ticks(most: float) -> list[float]:
    """Four to six round numbers from 0 to `most`, which is above 0."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [round(step * number, 10) for number in range(math.floor(most / step + 1e-9) + 1)]


def _drawn(axes: Axes, series: Series) -> list[Html]:
    places = [axes.place(point) for point in series.points]
    if series.joined:
        points = " ".join(f"{x},{y}" for x, y in places)
        return [element("polyline", points=points, class_=f"curve {series.arm}")]
    return [element("circle", cx=x, cy=y, r=4, class_=f"mark {series.arm}") for x, y in places]


def difference_bar(
    low: float, value: float, high: float, *, reach: float, margin: float, says: str
) -> Html:
    """An interval around 0, from -reach to +reach, with the margin as a dashed line."""

    def x(share: float) -> float:
        return round(100 + 96 * max(-1.0, min(1.0, share / reach)), 1)

    return element(
        "svg",
        element("line", x1=4, x2=196, y1=12, y2=12, class_="axis"),
        element("line", x1=x(0), x2=x(0), y1=4, y2=20, class_="axis"),
        element("line", x1=x(-margin), x2=x(-margin), y1=1, y2=23, class_="target"),
        element("line", x1=x(low), x2=x(high), y1=12, y2=12, class_="tuned", stroke_width=5),
        element("circle", cx=x(value), cy=12, r=5, class_="tuned", stroke_width=2),
        viewBox="0 0 200 24", preserveAspectRatio="xMinYMid meet", role="img", aria_label=says,
        class_="bar",
    )  # fmt: skip
