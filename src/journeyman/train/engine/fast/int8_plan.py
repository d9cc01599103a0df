"""How the products of one model are made narrow: what `calibration` found out about them.

A `Int8Plan` as one safetensors file: the magnitudes as tensors, the rest as metadata.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor

from journeyman.errors import IntegrityError
from journeyman.files import atomic_file
from journeyman.settings import ProductGroup
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.fast.shape import GROUPS, HEAD


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


PLAIN_INT8 = Int8Plan()


def product_name(layer: int, group: str) -> str:
    """What one frozen product of a layer is called, e.g. `3.down`; the output layer is `HEAD`."""
    return f"{layer}.{group}"


def group_of(product: str) -> ProductGroup:
    """The group of a product by its name."""
    name = product.rpartition(".")[2]
    return next(group for group in (*GROUPS, HEAD) if group == name)


FILE = "narrowing.safetensors"


def write_int8_plan(path: Path, int8_plan: Int8Plan, *, note: str = "") -> None:
    """Write it, whole or not at all. note: kept beside it."""
    from safetensors.torch import save

    metadata = {
        "wide": msgspec.json.encode(sorted(int8_plan.wide)).decode(),
        "wide_bytes": str(int8_plan.wide_bytes),
        "note": note,
    }
    with atomic_file(path) as file:
        file.write(save(dict(int8_plan.largest_inputs), metadata=metadata))


def read_int8_plan(path: Path) -> tuple[Int8Plan, str]:
    """It and its note. Raises IntegrityError where the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            largest = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        wide = msgspec.json.decode(metadata["wide"], type=frozenset[str])
        return Int8Plan(wide, largest, int(metadata["wide_bytes"])), metadata["note"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise IntegrityError(f"`{path}` cannot be read: {error}", hint="delete it") from error
