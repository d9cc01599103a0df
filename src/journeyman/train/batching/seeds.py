"""Seeds instead of a stored generator: each random draw has its own, derived from its purpose.

A resumed run needs no saved generator state: step 7 draws the same numbers whether or not the same
process ran step 6.
"""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A seed (0 .. 2**63 - 1) for one purpose, e.g. `derived_seed(42, "dropout", step, micro)`."""
    text = "/".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """The dropout seed of one micro-batch; micro-batches count from 0."""
    return derived_seed(seed, "dropout", step, micro_batch)
