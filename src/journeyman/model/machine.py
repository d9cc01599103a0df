"""Which arithmetic this processor is good at, read from what the kernel says about it."""

from pathlib import Path
from typing import Literal

from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.runs import CPUINFO, processor_flags

BF16_FLAGS = ("amx_bf16", "avx512_bf16")


class Precision(Struct, frozen=True):
    """The arithmetic of the frozen products, and why it was chosen."""

    name: Literal["fp32", "bf16"]
    reason: str


def choose_precision(
    asked: Literal["auto", "fp32", "bf16"] = "auto", *, cpuinfo: Path = CPUINFO
) -> Precision:
    """bf16 only where the processor multiplies it natively; elsewhere it is far slower than fp32.

    Raises MachineError where bf16 was asked for and the processor lacks it.
    """
    found = [flag for flag in BF16_FLAGS if flag in processor_flags(cpuinfo)]
    if asked == "fp32":
        return Precision("fp32", "fp32 was asked for")
    if found:
        why = "was asked for and" if asked == "bf16" else "because"
        return Precision("bf16", f"bf16 {why} this processor has {found[0]}")
    if asked == "bf16":
        # Without those instructions each product is emulated: 0.5 against 40 GFLOP/s on AVX2.
        raise MachineError(
            "bf16 was asked for, and this processor has neither amx_bf16 nor avx512_bf16",
            hint="use `--precision fp32`: here it is many times faster",
        )
    return Precision("fp32", "fp32 because this processor has neither amx_bf16 nor avx512_bf16")
