"""A dropout mask that depends only on a seed and each value's position (counter-based).

No mask is stored and no generator has a state: the forward pass, the backward pass and a recomputed
layer get the same mask, with and without the kernels, on a processor and on a GPU.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PART_VALUES = 2**20
"""How many values share a pair of keys. Positions within such a part fit into 32 bits."""


def keys_of(seed: int, part: int) -> tuple[int, int]:
    """Two keys of 32 bits for one part of an array. seed: 0 .. 2**64 - 1.

    From a cryptographic hash, so that the keys of parts and seeds are unrelated.
    """
    given = seed.to_bytes(8, "little") + part.to_bytes(8, "little")
    digest = hashlib.blake2b(given, digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def all_keys(count: int, seed: int) -> list[int]:
    """The keys of all parts of an array with `count` values, two for each part."""
    return [key for part in range(-(-count // PART_VALUES)) for key in keys_of(seed, part)]


def threshold_of(share: float) -> int:
    """The smallest 32-bit draw that is kept; the share is exact to 2^-32."""
    return min(round(share * 2**32), 2**32 - 1)


def keep_mask(
    count: int, *, seed: int, part: int, share: float, device: "torch.device"
) -> "torch.Tensor":
    """(count,) bool: which of a part's first values are kept, count <= PART_VALUES.

    A draw is mix(mix(position ^ first key) ^ second key). mix is lowbias32 of Chris Wellons' hash
    prospector, a bijection of 32 bits in which each input bit flips each output bit with
    probability 1/2 within 0.2 %. Applied once, all parts would draw from one sequence of 2^32
    numbers, in an order given by the key, and could overlap in it.
    """
    import torch

    first, second = keys_of(seed, part)
    # int32 wraps around like the kernel's integers, and is torch's fastest type for this.
    positions = torch.arange(count, dtype=torch.int32, device=device)
    drawn = _mix(_mix(positions.bitwise_xor_(_signed(first))).bitwise_xor_(_signed(second)))
    # Flipping the highest bit gives signed numbers the order of unsigned ones.
    return drawn.bitwise_xor_(-(2**31)) >= threshold_of(share) - 2**31


def _mix(x: "torch.Tensor") -> "torch.Tensor":
    """The hash, in place. x: int32, treated as unsigned."""
    for bits, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x.bitwise_xor_(_shifted(x, bits)).mul_(_signed(factor))
    return x.bitwise_xor_(_shifted(x, 16))


def _shifted(x: "torch.Tensor", bits: int) -> "torch.Tensor":
    # torch shifts the sign bit in, so it is masked out.
    return (x >> bits).bitwise_and_(2 ** (32 - bits) - 1)


def _signed(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x
