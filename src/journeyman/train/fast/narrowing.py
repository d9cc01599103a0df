"""How the products of one model are made narrow: what `calibration` found out about them."""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor

from journeyman.train.fast.products import Arithmetic

HEAD = "head"
"""The name of the output layer among the products."""


class Narrowing(Struct, frozen=True):
    """By the names of products; what is not named is made narrow as it is.

    wide: those whose forward loses too much. largest_inputs: magnitudes, (K,) float32, by which
    inputs are evened out (`int8_weights`). wide_bytes: memory that the wide ones take more.
    """

    wide: frozenset[str] = frozenset()
    largest_inputs: Mapping[str, Tensor] = MappingProxyType({})
    wide_bytes: int = 0

    def of(self, product: str, arithmetic: Arithmetic) -> Arithmetic:
        """The arithmetic of one product. Narrow gradients change next to nothing, and stay."""
        if product not in self.wide:
            return arithmetic
        return replace(arithmetic, forward=arithmetic.wide_method)

    @property
    def id(self) -> str:
        """Hash of all that decides a bit of the products; empty for products as they are."""
        if not self.wide and not self.largest_inputs:
            return ""
        content = hashlib.sha256("\n".join(sorted(self.wide)).encode())
        for name, values in sorted(self.largest_inputs.items()):
            content.update(name.encode() + values.contiguous().numpy().tobytes())
        return content.hexdigest()


AS_IT_IS = Narrowing()


def product_name(layer: int, group: str) -> str:
    """What one frozen product is called, e.g. `3.down`."""
    return f"{layer}.{group}"
