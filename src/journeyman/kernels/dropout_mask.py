"""What dropout keeps, by counting: whether a value is kept follows from a seed and its place alone.

So no mask is stored and no generator is carried along: forward, backward and a layer that runs
again draw the same, with and without the kernel, on a processor and on a GPU.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PART_VALUES = 2**20
"""Values with keys of their own; within a part places fit into 32 bits."""


def keys_of(seed: int, part: int) -> tuple[int, int]:
    """Two keys of 32 bits for one part of an array. seed: 0 .. 2**64 - 1.

    A cryptographic hash, so that neither parts nor seeds can resemble each other.
    """
    given = seed.to_bytes(8, "little") + part.to_bytes(8, "little")
    digest = hashlib.blake2b(given, digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def all_keys(count: int, seed: int) -> list[int]:
    """The keys of all parts of an array of so many values, two for each."""
    return [key for part in range(-(-count // PART_VALUES)) for key in keys_of(seed, part)]


def threshold_of(share: float) -> int:
    """The least draw of 32 bits that is kept: the share is exact to 2^-32."""
    return min(round(share * 2**32), 2**32 - 1)


def kept(
    count: int, *, seed: int, part: int, share: float, device: "torch.device"
) -> "torch.Tensor":
    """(count,) bool: which of a part's first values are kept, count <= PART_VALUES.

    A draw is mix(mix(place ^ first key) ^ second key). mix is lowbias32 of Chris Wellons' hash
    prospector, a bijection of 32 bits in which each bit of the input turns each bit of the output
    with probability 1/2 within 0.2 %. Applied once it would only walk through one sequence of
    2^32 numbers in an order that the key decides, and parts would meet each other there.
    """
    import torch

    first, second = keys_of(seed, part)
    # int32 wraps around like the kernel's whole numbers, and is the quickest that torch has.
    places = torch.arange(count, dtype=torch.int32, device=device)
    drawn = _mixed(_mixed(places.bitwise_xor_(_signed(first))).bitwise_xor_(_signed(second)))
    # Turning the highest bit brings signed numbers into the order of unsigned ones.
    return drawn.bitwise_xor_(-(2**31)) >= threshold_of(share) - 2**31


def _mixed(x: "torch.Tensor") -> "torch.Tensor":
    """The hash, in place. x: int32, read as if it had no sign."""
    for bits, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x.bitwise_xor_(_shifted(x, bits)).mul_(_signed(factor))
    return x.bitwise_xor_(_shifted(x, 16))


def _shifted(x: "torch.Tensor", bits: int) -> "torch.Tensor":
    # torch shifts the sign in; it is cut off again.
    return (x >> bits).bitwise_and_(2 ** (32 - bits) - 1)


def _signed(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x
