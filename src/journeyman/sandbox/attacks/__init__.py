"""The attacks that a sandbox must withstand, as data: `reach`, `bombs` and `lies`.

Words in braces, such as `{secret}`, are replaced by the decoys' (`journeyman.sandbox.decoys`).
The list comes from the literature on running generated code, and from faults found on the way.
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

__all__ = ["ALL", "Attack"]
