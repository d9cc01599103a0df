"""Randomness without state: every draw has a seed of its own, made from what it is for.

So a resumed run needs no saved generator: step 7 draws the same whether or not step 6 was run in
the same process.
"""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A seed (0 .. 2**63 - 1) for one purpose, e.g. `derived_seed(42, "dropout", step, micro)`."""
    text = "/".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """The seed of one micro-batch's dropout; micro-batches count from 0."""
    return derived_seed(seed, "dropout", step, micro_batch)
