"""The int8 kernel against plain torch: odd shapes, the extremes of its integers, no numbers."""

from typing import Any

import pytest
import torch

from journeyman.events import ignore
from journeyman.kernels import integer_product
from journeyman.kernels.integer_product import IntegerProduct, find_integer_product
from tests.emulated import emulated
from tests.kernels import no_kernel, outlier_rows, per_row_int8, random_weight, relative_error


def tolerance(kernel: IntegerProduct) -> float:
    """Of a product of Gaussian values, relative to the norms of its sides.

    Values are rounded to whole parts of their largest. Where that is below 6 sigma, the error is
    6 / largest / sqrt(12) = 1.73 / largest of sigma: 5e-5 by 32767, 1.4e-2 by 127. The rest of the
    margin is for float32 sums.
    """
    return 2 / kernel.largest + 4e-5


@pytest.fixture(scope="module", params=["of this processor", "emulated AVX-512"])
def kernel(request: pytest.FixtureRequest) -> IntegerProduct:
    if request.param == "emulated AVX-512":
        return integer_product.load(emulated("integer_product"))
    found = find_integer_product(ignore)
    if found is None:
        pytest.skip(no_kernel())
    return found


@pytest.mark.parametrize(
    ("rows", "outputs", "inputs"),
    [
        (1, 1, 1), (1, 16, 2), (2, 3, 5), (3, 17, 511), (4, 16, 512), (5, 33, 513), (7, 129, 1025),
        (129, 130, 131), (131, 257, 700), (2051, 5, 9),
    ],
)  # fmt: skip
def test_both_products_agree_with_torch_in_every_shape(
    kernel: IntegerProduct, rows: int, outputs: int, inputs: int
) -> None:
    chance = torch.Generator().manual_seed(rows)
    weight, scale = random_weight(outputs, inputs, chance)
    x = torch.randn(rows, inputs, generator=chance)
    dy = torch.randn(rows, outputs, generator=chance)
    wide = weight.double() * scale.double()[:, None]
    y, dx = x.double() @ wide.T, dy.double() @ wide
    # A single output may be a small difference of large terms: what counts is the size of these.
    bound = tolerance(kernel)
    assert (kernel.forward(x, weight, scale) - y).norm() <= bound * x.norm() * wide.norm()
    assert (kernel.backward(dy, weight, scale) - dx).norm() <= bound * dy.norm() * wide.norm()
    if rows * outputs > 100:
        assert relative_error(kernel.forward(x, weight, scale), y) < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_scale_of_the_inputs_goes_in_before_they_are_rounded(
    kernel: IntegerProduct, dtype: torch.dtype
) -> None:
    chance = torch.Generator().manual_seed(6)
    weight, scale = random_weight(90, 530, chance)
    outliers = torch.ones(530)
    outliers[::97] = 60.0
    x = (torch.randn(40, 530, generator=chance) * outliers).to(dtype)
    dy = torch.randn(40, 90, generator=chance).to(dtype)
    wide = weight.double() * scale.double()[:, None] / outliers
    # Both are rounded once more where they are BF16.
    bound = tolerance(kernel) + (2**-8 if dtype is torch.bfloat16 else 0)
    y = kernel.forward(x, weight, scale, input_scale=1 / outliers)
    assert relative_error(y, x.double() @ wide.T) < bound
    dx = kernel.backward(dy, weight, scale, input_scale=1 / outliers)
    assert relative_error(dx, dy.double() @ wide) < bound
    with pytest.raises(ValueError, match="input_scale"):
        kernel.forward(x, weight, scale, input_scale=scale)


@pytest.mark.parametrize("byte", [-128, -127, 127])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("reduction", [510, 511, 512, 513, 4099])
def test_the_largest_integers_do_not_overflow(
    kernel: IntegerProduct, byte: int, sign: float, reduction: int
) -> None:
    weight = torch.full((17, reduction), byte, dtype=torch.int8)
    largest = float(kernel.largest)
    expected = torch.full((5, 17), sign * largest * byte * reduction)
    x = torch.full((5, reduction), sign * largest)
    torch.testing.assert_close(kernel.forward(x, weight, torch.ones(17)), expected)
    found = kernel.backward(x, weight.T.contiguous(), torch.ones(reduction))
    torch.testing.assert_close(found, expected)


def test_integers_come_out_exactly(kernel: IntegerProduct) -> None:
    chance = torch.Generator().manual_seed(1)
    weight, _ = random_weight(40, 1030, chance)
    x = torch.randint(-100, 101, (9, 1030), generator=chance).float()
    # Once in every block, however the reduction is cut, so that all steps are 1.
    x[:, 7 :: kernel.block // 2] = float(kernel.largest)
    # Partial sums stay below 2^24: of 1030 random products, and of five or nine large ones.
    assert torch.equal(kernel.forward(x, weight, torch.ones(40)), x @ weight.float().T)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_holds_no_number_gives_none_and_spares_the_others(
    kernel: IntegerProduct, value: float
) -> None:
    chance = torch.Generator().manual_seed(2)
    weight, scale = random_weight(19, 35, chance)
    x, dy = torch.randn(6, 35, generator=chance), torch.randn(6, 19, generator=chance)
    sound = kernel.forward(x, weight, scale), kernel.backward(dy, weight, scale)
    x[2, 34] = dy[2, 18] = value
    found = kernel.forward(x, weight, scale), kernel.backward(dy, weight, scale)
    for before, after in zip(sound, found, strict=True):
        assert after[2].isnan().all()
        kept = [0, 1, 3, 4, 5]
        assert torch.equal(after[kept], before[kept])


def test_a_scale_that_is_no_number_is_not_hidden(kernel: IntegerProduct) -> None:
    weight, scale = random_weight(19, 35, torch.Generator().manual_seed(3))
    scale[4] = float("nan")
    assert kernel.forward(torch.zeros(3, 35), weight, scale)[:, 4].isnan().all()
    assert kernel.backward(torch.ones(3, 19), weight, scale).isnan().all()


def test_zeros_and_the_ends_of_float32_keep_their_size(kernel: IntegerProduct) -> None:
    weight = torch.full((3, 8), 2, dtype=torch.int8)
    sizes = torch.tensor([0.0, 1e-33, 1e-20, 1e20, 1e37])
    found = kernel.forward(sizes[:, None].repeat(1, 8), weight, torch.ones(3))
    torch.testing.assert_close(found, sizes[:, None].repeat(1, 3) * 16, rtol=1e-4, atol=0.0)


def test_equal_inputs_give_equal_bits_for_any_number_of_threads(kernel: IntegerProduct) -> None:
    chance = torch.Generator().manual_seed(4)
    weight, scale = random_weight(300, 700, chance)
    x, dy = torch.randn(300, 700, generator=chance), torch.randn(300, 300, generator=chance)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3, 2):
        torch.set_num_threads(threads)
        found.append((kernel.forward(x, weight, scale), kernel.backward(dy, weight, scale)))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for pair in found for a, b in zip(pair, found[0], strict=True))


def test_a_product_is_added_to_what_is_there(kernel: IntegerProduct) -> None:
    chance = torch.Generator().manual_seed(5)
    weight, scale = random_weight(21, 34, chance)
    x, there = torch.randn(5, 34, generator=chance), torch.randn(5, 21, generator=chance)
    alone, out = kernel.forward(x, weight, scale), there.clone()
    assert kernel.forward(x, weight, scale, out, accumulate=True) is out
    assert torch.equal(out, there + alone)
    assert torch.equal(kernel.forward(x, weight, scale, out), alone)


def test_outliers_cost_less_than_they_cost_int8_activations_with_a_scale_for_each_row(
    kernel: IntegerProduct,
) -> None:
    chance = torch.Generator().manual_seed(6)
    weight, scale = random_weight(256, 768, chance)
    x = outlier_rows(64, 768, chance)
    y = x.double() @ (weight.double() * scale.double()[:, None]).T
    ours = relative_error(kernel.forward(x, weight, scale), y)
    narrow = relative_error(per_row_int8(x) @ (weight.float() * scale[:, None]).T, y)
    # The few outliers of a row touch few of its blocks; 15 bits leave room for them anyway.
    assert ours < narrow / (100 if kernel.largest > 127 else 1.2)


def test_no_rows_and_no_reduction_give_an_empty_or_a_zero_product(kernel: IntegerProduct) -> None:
    weight = torch.zeros(3, 0, dtype=torch.int8)
    assert torch.equal(kernel.forward(torch.zeros(2, 0), weight, torch.ones(3)), torch.zeros(2, 3))
    assert kernel.forward(torch.zeros(0, 0), weight, torch.ones(3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": torch.zeros(2, 7)}, "activations"),
        ({"x": torch.zeros(2, 8, dtype=torch.float16)}, "activations"),
        ({"bias": torch.zeros(2)}, "bias"),
        ({"weight": torch.zeros(8, 3, dtype=torch.int8).T}, "contiguous"),
        ({"weight": torch.zeros(3, 8)}, "weight"),
        ({"scale": torch.ones(8)}, "scale"),
        ({"out": torch.zeros(3, 2)}, "out"),
        ({"out": torch.zeros(3, 2).T}, "out"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_memory_is_touched(
    kernel: IntegerProduct, change: dict[str, torch.Tensor], said: str
) -> None:
    given: dict[str, Any] = {
        "x": torch.zeros(2, 8),
        "weight": torch.zeros(3, 8, dtype=torch.int8),
        "scale": torch.ones(3),
    }
    with pytest.raises(ValueError, match=said):
        kernel.forward(**{**given, **change})


def test_a_transposed_view_of_activations_is_read_rightly(kernel: IntegerProduct) -> None:
    chance = torch.Generator().manual_seed(7)
    weight, scale = random_weight(21, 34, chance)
    x = torch.randn(34, 5, generator=chance).T
    assert torch.equal(
        kernel.forward(x, weight, scale), kernel.forward(x.contiguous(), weight, scale)
    )


@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 3, 5), (7, 129, 700), (300, 40, 33)])
def test_bfloat16_is_read_and_written_with_one_rounding(
    kernel: IntegerProduct, rows: int, outputs: int, inputs: int
) -> None:
    chance = torch.Generator().manual_seed(8)
    weight, scale = random_weight(outputs, inputs, chance)
    x = torch.randn(rows, inputs, generator=chance).bfloat16()
    dy = torch.randn(rows, outputs, generator=chance).bfloat16()
    wide, wide_back = (
        kernel.forward(x.float(), weight, scale),
        kernel.backward(dy.float(), weight, scale),
    )
    assert torch.equal(kernel.forward(x, weight, scale), wide.bfloat16())
    assert torch.equal(kernel.backward(dy, weight, scale), wide_back.bfloat16())
    there, bias = torch.randn(rows, outputs, generator=chance).bfloat16(), torch.randn(outputs)
    expected = (wide + bias + there.float()).bfloat16()
    found = kernel.forward(x, weight, scale, there, bias=bias, accumulate=True)
    assert found is there
    assert torch.equal(found, expected)


def test_bfloat16_activations_can_be_added_to_float32(kernel: IntegerProduct) -> None:
    chance = torch.Generator().manual_seed(9)
    weight, scale = random_weight(21, 34, chance)
    x, there = torch.randn(5, 34, generator=chance).bfloat16(), torch.randn(5, 21, generator=chance)
    expected = there + kernel.forward(x.float(), weight, scale)
    assert torch.equal(kernel.forward(x, weight, scale, there, accumulate=True), expected)


def test_a_kernel_that_multiplies_wrongly_is_found_out(kernel: IntegerProduct) -> None:
    class Doubling:
        @staticmethod
        def journeyman_multiply(product: Any, threads: int) -> int:
            once = kernel.library.journeyman_multiply(product, threads)
            product._obj.accumulate = 1
            return int(once or kernel.library.journeyman_multiply(product, threads))

    wrong = IntegerProduct(Doubling(), kernel.largest, kernel.block)  # type: ignore[arg-type]
    assert integer_product.is_correct(kernel)
    assert not integer_product.is_correct(wrong)
