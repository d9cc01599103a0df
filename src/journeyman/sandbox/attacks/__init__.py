"""The attacks that a sandbox must hold against, as data: `reach`, `bombs` and `lies`.

Words in braces, such as `{secret}`, are filled in from the bait (`journeyman.sandbox.decoys`).
The list is that of the literature on judging generated code, and of faults found while building.
"""

from journeyman.sandbox.attacks.attack import Attack
from journeyman.sandbox.attacks.bombs import BOMBS, ENDLESS, FLOODS
from journeyman.sandbox.attacks.lies import LIES
from journeyman.sandbox.attacks.reach import FILES, KERNEL, NETWORK, PROCESSES

ALL: tuple[Attack, ...] = (
    *FILES,
    *NETWORK,
    *KERNEL,
    *PROCESSES,
    *BOMBS,
    *ENDLESS,
    *FLOODS,
    *LIES,
)

__all__ = ["ALL", "LIES", "Attack"]
