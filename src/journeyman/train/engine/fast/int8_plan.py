"""The INT8 plan of a model: what a calibration decided for each of its frozen linear layers.

It is stored as one safetensors file, with the magnitudes as tensors and the rest as metadata.
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
"""Its name in a replay folder. This name and the metadata's keys are kept from earlier versions."""


class Int8Plan(Struct, frozen=True):
    """Which linear layers stay in full precision, and how the others are smoothed, by their names.

    full_precision: those that lose too much in INT8 in the forward pass. largest_inputs: (K,)
    float32 magnitudes by which inputs are smoothed (`int8_weights`); a layer without them is not
    smoothed. full_precision_bytes: how much more memory the full-precision layers take.
    """

    full_precision: frozenset[str] = frozenset()
    largest_inputs: Mapping[str, Tensor] = MappingProxyType({})
    full_precision_bytes: int = 0

    def of(self, product: str, arithmetic: Arithmetic) -> Arithmetic:
        """The arithmetic of one linear layer. Gradients stay INT8: they lose next to nothing."""
        planned = arithmetic.of(group_of(product))
        if product not in self.full_precision:
            return planned
        return replace(planned, forward=planned.full_precision_method)

    @property
    def id(self) -> str:
        """Hash of everything in it that decides bits of the result; empty for `PLAIN_INT8`."""
        if not self.full_precision and not self.largest_inputs:
            return ""
        content = hashlib.sha256("\n".join(sorted(self.full_precision)).encode())
        for name, values in sorted(self.largest_inputs.items()):
            content.update(name.encode() + values.contiguous().numpy().tobytes())
        return content.hexdigest()


PLAIN_INT8 = Int8Plan()
"""Every linear layer in INT8 without smoothing: there was no calibration, or no need for one."""


def product_name(layer: int, group: str) -> str:
    """The name of a frozen linear layer, e.g. `3.down`; the output layer is called `HEAD`."""
    return f"{layer}.{group}"


def group_of(product: str) -> ProductGroup:
    """The product group in a name."""
    name = product.rpartition(".")[2]
    return next(group for group in (*GROUPS, HEAD) if group == name)


def write_int8_plan(path: Path, int8_plan: Int8Plan, *, note: str = "") -> None:
    """Write the plan, completely or not at all. note: stored with it."""
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
        raise IntegrityError(f"cannot read `{path}`: {error}", hint="delete it") from error
