"""A `Int8Plan` as one safetensors file: the magnitudes as tensors, the rest as metadata."""

from pathlib import Path

import msgspec

from journeyman.errors import IntegrityError
from journeyman.files import atomic_file
from journeyman.train.fast.narrowing import Int8Plan

FILE = "narrowing.safetensors"


def write_narrowing(path: Path, narrowing: Int8Plan, *, note: str = "") -> None:
    """Write it, whole or not at all. note: kept beside it."""
    from safetensors.torch import save

    metadata = {
        "wide": msgspec.json.encode(sorted(narrowing.wide)).decode(),
        "wide_bytes": str(narrowing.wide_bytes),
        "note": note,
    }
    with atomic_file(path) as file:
        file.write(save(dict(narrowing.largest_inputs), metadata=metadata))


def read_narrowing(path: Path) -> tuple[Int8Plan, str]:
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
