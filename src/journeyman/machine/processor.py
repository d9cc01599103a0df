"""Which arithmetic this processor is good at, read from what the kernel says about it."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Literal

from msgspec import Struct

from journeyman.errors import MachineError

BF16_FLAGS = ("amx_bf16", "avx512_bf16")


class Precision(Struct, frozen=True):
    """The arithmetic of the frozen products, and why it was chosen."""

    name: Literal["fp32", "bf16"]
    reason: str


CPUINFO = Path("/proc/cpuinfo")


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


TOPOLOGY = Path("/sys/devices/system/cpu")


def machine() -> str:
    """The processor's name, its cores and the memory, in a few words."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory_bytes / 2**30:.0f} GiB"


def physical_cores(topology: Path = TOPOLOGY) -> int:
    """How many cores the threads that we may use lie on; hyperthreads of one core count once.

    Where the kernel does not say, every thread counts as a core.
    """
    mine = os.sched_getaffinity(0)
    siblings = {cpu: topology / f"cpu{cpu}" / "topology" / "thread_siblings_list" for cpu in mine}
    known = {
        path.read_text(encoding="ascii").strip() if path.is_file() else str(cpu)
        for cpu, path in siblings.items()
    }
    return len(known)


def processor_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The instruction sets that the kernel lists, empty where it lists none."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def processor_has(flags: tuple[str, ...]) -> bool:
    """Whether this processor has any of these units."""
    return any(flag in processor_flags() for flag in flags)
