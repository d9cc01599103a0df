"""Which processors each process of a run gets, from the kernel's own map of the machine.

A process that stays on the processors of one NUMA node gets its memory there too: Linux puts a page
where the processor is that first writes to it. Not covered: weights that stay mapped from a file;
their pages lie where the first reader was.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from journeyman.errors import UsageError
from journeyman.machine.processor import SYSTEM, cores_of, numa_nodes


class Place(Struct, frozen=True):
    """Where one process runs: its processors, and a thread for each core of them."""

    cpus: tuple[int, ...]
    threads: int


class ProcessLayout(Struct, frozen=True):
    """The places of all processes on this machine, and why these."""

    places: tuple[Place, ...]
    reason: str


def layout(
    processes: int | Literal["auto"],
    *,
    system: Path = SYSTEM,
    allowed: frozenset[int] | None = None,
) -> ProcessLayout:
    """One place a process; `auto` is a process for each NUMA node. Raises UsageError.

    allowed: the processors that may be used; by default those that this process may use.
    """
    usable = frozenset(os.sched_getaffinity(0)) if allowed is None else allowed
    nodes = numa_nodes(usable, system=system)
    cores = [cores_of(node, system=system) for node in nodes]
    total = sum(len(one) for one in cores)
    count = len(nodes) if processes == "auto" else processes
    if count > total:
        raise UsageError(
            f"`--processes {count}` is more than the {total} cores of this machine",
            hint="`--processes auto` takes one for each NUMA node",
        )
    shares = _shares(cores, count)
    places = tuple(Place(_flat(share), len(share)) for share in shares)
    return ProcessLayout(places, _reason(processes, places, nodes=len(nodes)))


def _shares(
    nodes: Sequence[Sequence[tuple[int, ...]]], count: int
) -> list[Sequence[tuple[int, ...]]]:
    """The cores of each process: whole nodes, or parts of one, as far as the count allows."""
    if count % len(nodes) == 0:
        each = count // len(nodes)
        if all(len(node) >= each for node in nodes):
            return [share for node in nodes for share in _parts(node, each)]
    return _parts([core for node in nodes for core in node], count)


def _parts(cores: Sequence[tuple[int, ...]], count: int) -> list[Sequence[tuple[int, ...]]]:
    edges = [len(cores) * at // count for at in range(count + 1)]
    return [cores[edges[at] : edges[at + 1]] for at in range(count)]


def _reason(processes: int | str, places: Sequence[Place], *, nodes: int) -> str:
    where = "; ".join(f"{ranges(place.cpus)} ({place.threads} threads)" for place in places)
    if processes != "auto":
        return f"{len(places)} processes were asked for, on processors {where}"
    if nodes == 1:
        return f"1 process: this machine has one NUMA node; on processors {where}"
    return (
        f"{nodes} processes, one for each NUMA node, because memory of another node is slower; "
        f"on processors {where}"
    )


def _flat(cores: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted(cpu for core in cores for cpu in core))


def ranges(cpus: Sequence[int]) -> str:
    """Numbers as the kernel writes them: `0-3,8`."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(f"{x[0]}-{x[-1]}" if len(x) > 1 else f"{x[0]}" for x in parts)


def take_place_of_torchrun() -> Place | None:
    """Bind this process to its place where torchrun started it with others on this machine.

    None where it did not. Threads that exist already stay where they are, so call it early.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" not in os.environ or here == 1:
        return None
    place = layout(here).places[int(os.environ["LOCAL_RANK"])]
    os.sched_setaffinity(0, place.cpus)
    return place
