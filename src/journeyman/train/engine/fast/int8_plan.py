"""The INT8 plan of a model: what a calibration decided for each of its frozen products.

Kept as one safetensors file: the magnitudes as tensors, the rest as metadata.
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
from journeyman.train.engine.fast.linear import Arithmetic
from journeyman.train.engine.fast.shape import GROUPS, HEAD, ProductGroup

FILE = "narrowing.safetensors"
"""File name in a replay folder; it and the metadata's keys are older than the name INT8 plan."""


class Int8Plan(Struct, frozen=True):
    """By the names of products; a product that is not named is quantised without smoothing.

    full_precision: products whose forward pass loses too much in INT8. largest_inputs: magnitudes,
    (K,) float32, by which inputs are smoothed (`int8_weights`). full_precision_bytes: memory that
    the full-precision products take more than INT8 ones.
    """

    full_precision: frozenset[str] = frozenset()
    largest_inputs: Mapping[str, Tensor] = MappingProxyType({})
    full_precision_bytes: int = 0

    def of(self, product: str, arithmetic: Arithmetic) -> Arithmetic:
        """The arithmetic of one product. INT8 gradients lose next to nothing, so they stay INT8."""
        found = arithmetic.of(group_of(product))
        if product not in self.full_precision:
            return found
        return replace(found, forward=found.full_precision_method)

    @property
    def id(self) -> str:
        """Hash of everything that decides a bit of the products; empty for a plain plan."""
        if not self.full_precision and not self.largest_inputs:
            return ""
        content = hashlib.sha256("\n".join(sorted(self.full_precision)).encode())
        for name, values in sorted(self.largest_inputs.items()):
            content.update(name.encode() + values.contiguous().numpy().tobytes())
        return content.hexdigest()


PLAIN_INT8 = Int8Plan()
"""Every product quantised without smoothing: no calibration was run, or none was needed."""


def product_name(layer: int, group: str) -> str:
    """The name of one frozen product of a layer, e.g. `3.down`; the output layer is `HEAD`."""
    return f"{layer}.{group}"


def group_of(product: str) -> ProductGroup:
    """The group of a product by its name."""
    name = product.rpartition(".")[2]
    return next(group for group in (*GROUPS, HEAD) if group == name)


def write_int8_plan(path: Path, int8_plan: Int8Plan, *, note: str = "") -> None:
    """Write it, whole or not at all. note: kept beside it."""
    from safetensors.torch import save

    metadata = {
        "wide": msgspec.json.encode(sorted(int8_plan.full_precision)).decode(),
        "wide_bytes": str(int8_plan.full_precision_bytes),
        "note": note,
    }
    with atomic_file(path) as file:
        file.write(save(dict(int8_plan.largest_inputs), metadata=metadata))


def read_int8_plan(path: Path) -> tuple[Int8Plan, str]:
    """The plan and its note. Raises IntegrityError if the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            largest = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        full_precision = msgspec.json.decode(metadata["wide"], type=frozenset[str])
        return Int8Plan(full_precision, largest, int(metadata["wide_bytes"])), metadata["note"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise IntegrityError(f"`{path}` cannot be read: {error}", hint="delete it") from error
