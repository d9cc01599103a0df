"""INT8 weights: their rounding and smoothing, and linear layers that use them."""

import pytest
import torch
from torch import Tensor

from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.int8_weights import quantise
from journeyman.train.engine.fast.linear import Arithmetic, FrozenLinear, Method, frozen_linear
from tests.kernels import outlier_rows, relative_error

ROWS, INPUTS, OUTPUTS = 40, 300, 70


def weights(seed: int = 0) -> list[Tensor]:
    """Two weights with the same input, whose channels differ in size."""
    chance = torch.Generator().manual_seed(seed)
    sizes = torch.rand(INPUTS, generator=chance) + 0.1
    return [torch.randn(outputs, INPUTS, generator=chance) * sizes for outputs in (50, 20)]


def product(method: Method, largest_inputs: Tensor | None = None) -> FrozenLinear:
    arithmetic = Arithmetic(method, method, torch.float32)
    return frozen_linear(weights(), None, arithmetic, Elementwise(), largest_inputs=largest_inputs)


@pytest.mark.parametrize("is_smoothed", [False, True])
def test_each_weight_is_rounded_to_the_nearest_step_of_its_channel(is_smoothed: bool) -> None:
    largest = torch.rand(INPUTS, generator=torch.Generator().manual_seed(1)) * 50
    found = quantise(weights(), largest if is_smoothed else None)
    inverse = torch.ones(INPUTS) if found.inverse is None else found.inverse
    assert (found.inverse is not None) == is_smoothed
    real = torch.cat(weights())
    apart = (found.values.float() * found.scale[:, None] * inverse - real).abs()
    assert (apart <= 0.5001 * found.scale[:, None] * inverse).all()
    assert (found.values.abs().amax(1) == 127).all()


def test_smoothing_makes_inputs_and_weights_of_a_channel_equally_large() -> None:
    largest = torch.ones(INPUTS)
    largest[7] = 400.0
    (one, two), found = weights(), quantise(weights(), largest)
    assert found.inverse is not None
    channels = torch.cat((one, two)).abs().amax(0)
    torch.testing.assert_close(largest * found.inverse, channels / found.inverse)


@pytest.mark.parametrize("method", ["int8", "int8 upcast"])
def test_a_smoothed_layer_is_the_same_layer_forward_and_backward(method: Method) -> None:
    chance = torch.Generator().manual_seed(2)
    x = outlier_rows(ROWS, INPUTS, chance)
    dy = torch.randn(ROWS, OUTPUTS, generator=chance)
    fp32, smoothed = product("fp32"), product(method, x.abs().amax(0))
    # What the weights lose, and a 127th of the largest value of each input row.
    found = quantise(weights(), x.abs().amax(0))
    assert found.inverse is not None
    left = found.values * found.scale[:, None] * found.inverse
    bound = relative_error(left, torch.cat(weights()).double()) + 0.015
    assert bound < 0.05
    assert relative_error(smoothed.forward(x), fp32.forward(x).double()) < bound
    assert relative_error(smoothed.input_gradient(dy), fp32.input_gradient(dy).double()) < bound


def test_smoothing_halves_what_an_outlier_costs_the_other_channels() -> None:
    x = outlier_rows(ROWS, INPUTS, torch.Generator().manual_seed(2))
    right = product("fp32").forward(x).double()
    plain = relative_error(product("int8").forward(x), right)
    assert relative_error(product("int8", x.abs().amax(0)).forward(x), right) < 0.5 * plain


def test_channels_without_input_or_weight_stay_finite() -> None:
    largest = torch.zeros(INPUTS)
    largest[:10] = 3.0
    one, two = weights()
    one[:, 20] = two[:, 20] = 0.0
    one[4] = 0.0
    found = quantise([one, two], largest)
    assert found.inverse is not None
    assert found.inverse.isfinite().all()
    assert (found.inverse > 0).all()
    assert found.scale.isfinite().all()
    assert not found.values[4].any()
    assert quantise([one, two], torch.zeros(INPUTS)).scale.isfinite().all()


@pytest.mark.parametrize("is_smoothed", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_weight_shows_in_its_scale(value: float, is_smoothed: bool) -> None:
    one, two = weights()
    one[3, 5] = value
    found = quantise([one, two], torch.ones(INPUTS) if is_smoothed else None)
    assert not found.scale[3].isfinite()
    assert found.scale[[2, 4, 60]].isfinite().all()
