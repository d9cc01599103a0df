"""`losses.png`: drawn for whole and for interrupted runs, with a moving average."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from journeyman.train.identity import Identity
from journeyman.train.monitor.loss_plot import draw_losses, moving_average
from journeyman.train.state import FinishedStep, State, Validation

IDENTITY = Identity("base", "a", "b", "e", "c", "d", "hf", {"lr": 2e-4, "epochs": 3.0})


@pytest.mark.parametrize(("taken", "validated"), [(0, 1), (1, 0), (30, 4)])
def test_a_plot_is_drawn_no_matter_how_far_the_run_came(
    tmp_path: Path, taken: int, validated: int
) -> None:
    steps = tuple(FinishedStep(n + 1, n // 10, 1.5, 1e-4, 1.0, 9, 9, 1.0) for n in range(taken))
    validations = tuple(Validation(10 * n, 1.2 + n / 10) for n in range(validated))
    path = tmp_path / "losses.png"
    draw_losses(path, State(IDENTITY, "", steps, validations), steps=30)
    # 9 by 6 inches at 120 dots an inch, and something on it that is not white.
    image = imread(path)
    assert image.shape == (720, 1080, 4)
    assert (image[..., :3] < 0.5).any()
    assert [one.name for one in tmp_path.iterdir()] == ["losses.png"]


def test_the_moving_average_is_the_mean_of_the_values_around() -> None:
    assert moving_average([0.0, 3.0, 6.0, 9.0], over=3) == [1.5, 3.0, 6.0, 7.5]
