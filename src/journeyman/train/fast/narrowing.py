"""How the products of one model are made narrow: what `calibration` found out about them."""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor

from journeyman.settings import ProductGroup
from journeyman.train.fast.products import Arithmetic
from journeyman.train.fast.shape import GROUPS, HEAD


class Int8Plan(Struct, frozen=True):
    """By the names of products; what is not named is made narrow as it is.

    wide: those whose forward loses too much. largest_inputs: magnitudes, (K,) float32, by which
    inputs are evened out (`int8_weights`). wide_bytes: memory that the wide ones take more.
    """

    wide: frozenset[str] = frozenset()
    largest_inputs: Mapping[str, Tensor] = MappingProxyType({})
    wide_bytes: int = 0

    def of(self, product: str, arithmetic: Arithmetic) -> Arithmetic:
        """The arithmetic of one product. Narrow gradients change next to nothing, and stay."""
        found = arithmetic.of(group_of(product))
        if product not in self.wide:
            return found
        return replace(found, forward=found.wide_method)

    @property
    def id(self) -> str:
        """Hash of all that decides a bit of the products; empty for products as they are."""
        if not self.wide and not self.largest_inputs:
            return ""
        content = hashlib.sha256("\n".join(sorted(self.wide)).encode())
        for name, values in sorted(self.largest_inputs.items()):
            content.update(name.encode() + values.contiguous().numpy().tobytes())
        return content.hexdigest()


AS_IT_IS = Int8Plan()


def product_name(layer: int, group: str) -> str:
    """What one frozen product of a layer is called, e.g. `3.down`; the output layer is `HEAD`."""
    return f"{layer}.{group}"


def group_of(product: str) -> ProductGroup:
    """The group of a product by its name."""
    name = product.rpartition(".")[2]
    return next(group for group in (*GROUPS, HEAD) if group == name)
