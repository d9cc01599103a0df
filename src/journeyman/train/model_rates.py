"""How quick the products of one model are on this machine, and which arithmetic that speaks for."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from journeyman.events import Reporter
from journeyman.settings import Precision, ProductGroup
from journeyman.train.fast.shape import HEAD, shape_of
from journeyman.train.product_rates import Rates, measured_rates

RatesOf = Callable[[tuple[int, int], Reporter], Rates]
"""The rates of a product of (inputs, outputs)."""
# Narrower numbers must pay: below this ratio the wider arithmetic is taken.
_WORTH = 1.15


class QuickestPrecision(Struct, frozen=True):
    """A precision, the groups of products that are wide in it, and the reason."""

    precision: Precision
    wide: tuple[ProductGroup, ...]
    reason: str


class ModelRates(Struct, frozen=True):
    """By group of products (`fast.shape`): the rates of one, and the weights of all.

    never_int8: groups that are wide whatever is quicker.
    """

    rates: Mapping[ProductGroup, Rates]
    parameters: Mapping[ProductGroup, int]
    never_int8: tuple[ProductGroup, ...] = ()

    @property
    def has_bf16(self) -> bool:
        """Whether products of BF16 are multiplied as such."""
        return all(rates.bf16 is not None for rates in self.rates.values())

    def wide_groups(self) -> tuple[ProductGroup, ...]:
        """Those that could be INT8 and gain too little by it."""
        return tuple(
            group
            for group, rates in self.rates.items()
            if group not in self.never_int8 and rates.narrow <= _WORTH * rates.wide
        )

    def quickest(self) -> QuickestPrecision:
        """The quickest precision: INT8, with the groups that gain nothing by it wide, or BF16."""
        told = self.told()
        fp32, bf16 = self._mean(lambda x: x.fp32), self._mean(lambda x: x.bf16)
        wide, name = max((fp32, "fp32"), (bf16, "bf16"))
        groups = self.wide_groups()
        int8 = self._mean(lambda x: x.narrow, wide=(*groups, *self.never_int8))
        if int8 > _WORTH * wide:
            return QuickestPrecision("int8", groups, f"precision: int8, the quickest here ({told})")
        if name == "bf16" and wide > _WORTH * fp32:
            return QuickestPrecision("bf16", (), f"precision: bf16, the quickest here ({told})")
        reason = f"precision: fp32, and nothing narrower is much quicker here ({told})"
        return QuickestPrecision("fp32", (), reason)

    def told(self) -> str:
        """The rates of all products together, for people."""
        named = {
            "fp32": self._mean(lambda x: x.fp32),
            "bf16": self._mean(lambda x: x.bf16),
            "int8": self._mean(lambda x: x.int8),
            "int8 by the kernel": self._mean(lambda x: x.kernel),
        }
        parts = [f"{name} {rate / 1e9:.0f}" for name, rate in named.items() if rate]
        return ", ".join(parts) + " GOP/s a core"

    def _mean(
        self, rate_of: Callable[[Rates], float | None], *, wide: tuple[ProductGroup, ...] = ()
    ) -> float:
        """Operations a second of all products; 0 where one of them cannot be made so."""
        seconds = 0.0
        for group, parameters in self.parameters.items():
            rates = self.rates[group]
            rate = rates.wide if group in wide else rate_of(rates)
            if not rate:
                return 0.0
            seconds += parameters / rate
        return sum(self.parameters.values()) / seconds


def model_rates(config: Any, report: Reporter, rates_of: RatesOf = measured_rates) -> ModelRates:
    """The rates of a model of the family."""
    shape = shape_of(config)
    found = {group: rates_of(size, report) for group, size in shape.product_sizes.items()}
    # Where integers are multiplied in 8 bits they would round the output layer's gradient away.
    never: tuple[ProductGroup, ...] = (HEAD,) if found[HEAD].int8 is not None else ()
    return ModelRates(found, shape.group_parameters, never)
