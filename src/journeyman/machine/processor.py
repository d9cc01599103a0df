"""The processor: its cores, NUMA nodes and instruction sets, and which precision it is good at."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Literal

from msgspec import Struct

from journeyman.errors import MachineError
from journeyman.machine.memory_limits import physical_memory_bytes

BF16_FLAGS = ("amx_bf16", "avx512_bf16")

CPUINFO = Path("/proc/cpuinfo")
SYSTEM = Path("/sys/devices/system")


class Precision(Struct, frozen=True):
    """In which precision the frozen layers are multiplied, and why."""

    name: Literal["fp32", "bf16"]
    reason: str


def choose_precision(
    asked: Literal["auto", "fp32", "bf16"] = "auto", *, cpuinfo: Path = CPUINFO
) -> Precision:
    """BF16 only if the processor multiplies it natively: without that it is far slower than FP32.

    Raises MachineError if BF16 was asked for and the processor lacks it.
    """
    flags = processor_flags(cpuinfo)
    native = [flag for flag in BF16_FLAGS if flag in flags]
    if asked == "fp32":
        return Precision("fp32", "fp32 was asked for")
    if native:
        why = "was asked for and" if asked == "bf16" else "because"
        return Precision("bf16", f"bf16 {why} this processor has {native[0]}")
    if asked == "bf16":
        # Without those instructions each product is emulated: 0.5 against 40 GFLOP/s on AVX2.
        raise MachineError(
            "bf16 was asked for, but this processor has neither amx_bf16 nor avx512_bf16",
            hint="use `--precision fp32`: it is many times faster on this machine",
        )
    return Precision("fp32", "fp32 because this processor has neither amx_bf16 nor avx512_bf16")


def describe_machine() -> str:
    """The processor's name, its cores and the memory: `AMD EPYC, 2 cores, 24 GiB`."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    return f"{name}, {usable_processors()} cores, {physical_memory_bytes() / 2**30:.0f} GiB"


def usable_processors() -> int:
    """How many processors (hardware threads) this process may use."""
    return len(os.sched_getaffinity(0))


def physical_cores(*, system: Path = SYSTEM) -> int:
    """How many cores the usable processors lie on: hardware threads of one core count once."""
    return len(cores_of(frozenset(os.sched_getaffinity(0)), system=system))


def cores_of(cpus: frozenset[int], *, system: Path = SYSTEM) -> list[tuple[int, ...]]:
    """Processors grouped by core; each is a core of its own if the kernel does not say."""
    cores: dict[tuple[int, ...], None] = {}
    for cpu in sorted(cpus):
        path = system / "cpu" / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        siblings = _parse_list(path.read_text(encoding="ascii")) if path.is_file() else {cpu}
        cores[tuple(sorted(siblings & cpus))] = None
    return list(cores)


def numa_nodes(cpus: frozenset[int], *, system: Path = SYSTEM) -> list[frozenset[int]]:
    """Processors grouped by NUMA node; all in one if the kernel names no nodes."""
    folders = sorted((system / "node").glob("node[0-9]*"), key=lambda path: int(path.name[4:]))
    nodes = [
        _parse_list((folder / "cpulist").read_text(encoding="ascii")) & cpus for folder in folders
    ]
    return [node for node in nodes if node] or [cpus]


def processor_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The instruction sets that the kernel lists; empty if it lists none."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def processor_has(flags: tuple[str, ...]) -> bool:
    """Whether this processor has any of these instruction sets."""
    return any(flag in processor_flags() for flag in flags)


def _parse_list(text: str) -> frozenset[int]:
    """The numbers of a list as the kernel writes it: `0-3,8,10-11`."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
