"""Which processors each process of a run gets, from the kernel's own map of the machine.

A process that stays on the processors of one NUMA node gets its memory there, too, because Linux
places a page where the processor is that first writes to it. Not covered: weights that are mapped
from a file; their pages are where their first reader was.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.machine.processor import SYSTEM, cores_of, numa_nodes

_Core = tuple[int, ...]
"""The processors (hardware threads) of one core."""


class CpuSet(Struct, frozen=True):
    """The processors of one process. threads: one for each core."""

    cpus: tuple[int, ...]
    threads: int


class CpuAssignment(Struct, frozen=True):
    """The processors of all processes on this machine, with the reason."""

    cpu_sets: tuple[CpuSet, ...]
    reason: str


def assign_cpus(
    processes: int | Literal["auto"],
    *,
    system: Path = SYSTEM,
    allowed: frozenset[int] | None = None,
) -> CpuAssignment:
    """Processors for so many processes; `auto` means one for each NUMA node. Raises UsageError.

    allowed: the processors to use; by default those that this process may use.
    """
    usable = frozenset(os.sched_getaffinity(0)) if allowed is None else allowed
    nodes = numa_nodes(usable, system=system)
    cores = [cores_of(node, system=system) for node in nodes]
    total = sum(len(one) for one in cores)
    count = len(nodes) if processes == "auto" else processes
    if count > total:
        raise UsageError(
            f"`--processes {count}` is more than the {total} cores of this machine",
            hint="`--processes auto` starts one for each NUMA node",
        )
    cpu_sets = tuple(CpuSet(_processors(share), len(share)) for share in _shares(cores, count))
    return CpuAssignment(cpu_sets, _reason(processes, cpu_sets, nodes=len(nodes)))


def _shares(nodes: Sequence[Sequence[_Core]], count: int) -> list[Sequence[_Core]]:
    """The cores of each process: whole nodes or parts of one, if the count allows that."""
    if count % len(nodes) == 0:
        each = count // len(nodes)
        if all(len(node) >= each for node in nodes):
            return [share for node in nodes for share in _even_parts(node, each)]
    return _even_parts([core for node in nodes for core in node], count)


def _even_parts(cores: Sequence[_Core], count: int) -> list[Sequence[_Core]]:
    edges = [len(cores) * at // count for at in range(count + 1)]
    return [cores[edges[at] : edges[at + 1]] for at in range(count)]


def _processors(cores: Sequence[_Core]) -> tuple[int, ...]:
    return tuple(sorted(cpu for core in cores for cpu in core))


def _reason(processes: int | str, cpu_sets: Sequence[CpuSet], *, nodes: int) -> str:
    listed = "; ".join(f"{cpu_ranges(one.cpus)} ({one.threads} threads)" for one in cpu_sets)
    if processes != "auto":
        return f"{len(cpu_sets)} processes were requested, on processors {listed}"
    if nodes == 1:
        return f"1 process: this machine has one NUMA node; on processors {listed}"
    return (
        f"{nodes} processes, one for each NUMA node, because memory of another node is slower; "
        f"on processors {listed}"
    )


def cpu_ranges(cpus: Sequence[int]) -> str:
    """Processor numbers as the kernel writes them: `0-3,8`."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(f"{x[0]}-{x[-1]}" if len(x) > 1 else f"{x[0]}" for x in parts)


def bind_torchrun_process() -> CpuSet | None:
    """Bind this process to its processors if torchrun started several on this machine, else None.

    Threads that exist already are not moved, so call it early.
    """
    count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" not in os.environ or count == 1:
        return None
    cpu_set = assign_cpus(count).cpu_sets[int(os.environ["LOCAL_RANK"])]
    os.sched_setaffinity(0, cpu_set.cpus)
    return cpu_set
