"""The machine's limit for a step: the time of its matrix products at their own rate.

4 operations a frozen weight and token, forward and backward; those of the output layer only for
trained tokens; attention is left out. Each recipe is compared with the rate of its own arithmetic,
TRL with that of BF16 if the processor supports it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.train.batching.rows import TokenRow
from journeyman.train.engine.fast.shape import DecoderShape
from journeyman.train.engine.product_rates import Rates


@dataclass(frozen=True)
class ProductLimit:
    """The limit for some rows on a model. rates: of one large product, measured in the same run."""

    shape: DecoderShape
    trained_share: float
    rates: Rates

    def seconds(self, recipe: str) -> float:
        """The least time of a real token, in seconds."""
        forward, backward, head = self._rates_of(recipe)
        weights = self.shape.layer_parameters * self.shape.layers
        products = 2.0 * weights * (1 / forward + 1 / backward)
        return (
            products + 4.0 * self.trained_share * self.shape.vocabulary * self.shape.hidden / head
        )

    def _rates_of(self, recipe: str) -> tuple[float, float, float]:
        """Operations a second of the layers, forward and backward, and of the output layer."""
        rates = self.rates
        bf16 = rates.bf16 or rates.fp32
        int8 = max(rates.int8 or 0.0, rates.kernel or 0.0, rates.fp32)
        if recipe == "fast int8":
            # 8-bit activations would round the output layer's gradient away; 15 bits do not.
            return int8, int8, bf16 if rates.int8 else int8
        if recipe == "fast mixed":
            return bf16, int8, bf16
        if recipe.endswith(" bf16") or recipe.startswith("trl"):
            return bf16, bf16, bf16
        return rates.fp32, rates.fp32, rates.fp32


def best_of(one: Rates, other: Rates) -> Rates:
    """The higher rate of each arithmetic."""
    found: dict[str, Any] = {}
    for name in Rates.__struct_fields__:
        measured = [x for x in (getattr(one, name), getattr(other, name)) if x is not None]
        found[name] = max(measured, default=None)
    return Rates(**found)


def trained_share(rows: Sequence[TokenRow]) -> float:
    """Trained tokens as a share of all."""
    return sum(row.trained_tokens for row in rows) / sum(len(row.ids) for row in rows)
