"""Charts: round ticks, lines through points, and nothing outside of the picture."""

import pytest

from journeyman.evaluate.report.charts import (
    HEIGHT,
    WIDTH,
    Axes,
    Chart,
    Series,
    chart,
    fitted,
    ticks,
)
from journeyman.html import environment


@pytest.mark.parametrize(
    ("most", "found"),
    [
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (16.7, [0, 5, 10, 15]),
        (12.6, [0, 5, 10]),
        (540, [0, 200, 400]),
        (0.03, [0, 0.01, 0.02, 0.03]),
    ],
)
def test_ticks_are_round_numbers(most: float, found: list[float]) -> None:
    assert ticks(most) == pytest.approx(found)


def test_a_line_through_points_on_a_line_is_that_line() -> None:
    # Least squares of 1 + 2 x.
    assert fitted([(0, 1), (1, 3), (2, 5)]) == [(0, 1), (2, 5)]


@pytest.mark.parametrize("points", [[], [(1, 2)], [(3, 1), (3, 2)]])
def test_points_that_make_no_line_give_none(points: list[tuple[float, float]]) -> None:
    assert fitted(points) == []


def test_what_lies_beyond_the_axes_stays_in_the_picture() -> None:
    axes = Axes("x", "y", 1.0, 1.0)
    x, y = axes.place((1.0, 9.0))
    assert 0 <= x <= WIDTH
    assert 0 <= y <= HEIGHT


def drawn(figure: Chart) -> str:
    source = "{% from 'evaluate/report/macros.html' import chart %}{{ chart(figure) }}"
    return environment._environment().from_string(source).render(figure=figure)


def test_a_chart_says_in_words_what_it_shows() -> None:
    line = Series("base", [(0, 0), (1, 1)])
    text = drawn(chart(Axes("x", "y", 1, 1), label="it <rises>", lines=[line]))
    assert 'aria-label="it &lt;rises&gt;"' in text
    # From the lower left corner of the axes to the upper right one.
    assert '<polyline points="52.0,226.0 628.0,12.0" class="curve base"' in text


def test_a_target_is_drawn_where_the_axis_has_its_value() -> None:
    figure = chart(Axes("x", "y", 10, 10), label="", target_y=5)
    assert figure.target_y == (12 + 226) / 2
    assert figure.target_x is None
    assert drawn(figure).count('class="target"') == 1
