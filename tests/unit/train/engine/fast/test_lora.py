"""An adapter's small changes survive the roundings of BF16."""

import pytest
import torch

from journeyman.train.engine.fast.elementwise import Elementwise
from journeyman.train.engine.fast.linear import Arithmetic, Method, frozen_linear
from journeyman.train.engine.fast.lora import AdaptedProduct, Leaf

TOKENS, INPUTS, OUTPUTS, RANK = 96, 64, 80, 4


@pytest.mark.parametrize("method", ["bf16", "bf16 upcast", "int8"])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_change_below_a_step_of_bf16_is_not_rounded_away(method: Method, has_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(OUTPUTS, INPUTS, generator=generator)
    bias = torch.randn(OUTPUTS, generator=generator) if has_bias else None
    states = torch.randn(TOKENS, INPUTS, generator=generator).bfloat16()
    product = frozen_linear(
        [weight], bias, Arithmetic(method, method, torch.bfloat16), Elementwise()
    )
    plain = product.forward(states)
    # A tenth of half a step of BF16 at the size of the outputs, which is about 8.
    first = torch.randn(RANK, INPUTS, generator=generator)
    second = torch.randn(OUTPUTS, RANK, generator=generator) * 1e-4
    change = states.float() @ first.t() @ second.t()
    adapted = AdaptedProduct(product, [Leaf(first, second, slice(0, OUTPUTS))], 1.0, Elementwise())
    found = adapted.forward(states, None)[0]
    assert found.dtype is torch.bfloat16
    difference = found.float() - plain.float()
    # Rounded twice, changes survive only near zero; rounded once, they survive on average, so that
    # the share of them that is left is about one.
    large = plain.abs() > 4
    kept = (difference * change)[large].sum() / change[large].square().sum()
    assert 0.5 < float(kept) < 1.5
