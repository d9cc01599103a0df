"""The processors of each process, on machines that exist as folders in the kernel's format."""

from pathlib import Path

import pytest

from journeyman.errors import UsageError
from journeyman.train.parallel.affinity import CpuSet, assign_cpus, cpu_ranges


def machine(folder: Path, nodes: list[str], *, siblings: dict[int, str] | None = None) -> Path:
    """/sys/devices/system of a machine; nodes: the kernel's list of processors of each."""
    for number, cpus in enumerate(nodes):
        (folder / "node" / f"node{number}").mkdir(parents=True)
        (folder / "node" / f"node{number}" / "cpulist").write_text(f"{cpus}\n")
    for cpu, listed in (siblings or {}).items():
        topology = folder / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{listed}\n")
    return folder


def test_auto_is_one_process_for_each_node_with_all_its_cores(tmp_path: Path) -> None:
    found = assign_cpus(
        "auto", system=machine(tmp_path, ["0-3", "4-7"]), allowed=frozenset(range(8))
    )
    assert found.cpu_sets == (CpuSet((0, 1, 2, 3), 4), CpuSet((4, 5, 6, 7), 4))
    assert found.reason == (
        "2 processes, one for each NUMA node, because memory of another node is slower; "
        "on processors 0-3 (4 threads); 4-7 (4 threads)"
    )


def test_the_hardware_threads_of_a_core_count_as_one_thread_and_stay_together(
    tmp_path: Path,
) -> None:
    pairs = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    system = machine(tmp_path, ["0-7"], siblings=pairs)
    found = assign_cpus(2, system=system, allowed=frozenset(range(8)))
    assert found.cpu_sets == (CpuSet((0, 1, 4, 5), 2), CpuSet((2, 3, 6, 7), 2))


def test_processors_that_may_not_be_used_are_not_assigned(tmp_path: Path) -> None:
    system = machine(tmp_path, ["0-3", "4-7"])
    assert assign_cpus("auto", system=system, allowed=frozenset({1, 2})).cpu_sets == (
        CpuSet((1, 2), 2),
    )
    assert "one NUMA node" in assign_cpus("auto", system=system, allowed=frozenset({1})).reason


def test_twice_as_many_processes_as_nodes_share_them(tmp_path: Path) -> None:
    system = machine(tmp_path, ["0-2", "3-5"])
    cpu_sets = assign_cpus(4, system=system, allowed=frozenset(range(6))).cpu_sets
    assert [one.cpus for one in cpu_sets] == [(0,), (1, 2), (3,), (4, 5)]


def test_a_count_that_no_node_divides_shares_all_cores_evenly(tmp_path: Path) -> None:
    system = machine(tmp_path, ["0-3", "4-7"])
    cpu_sets = assign_cpus(3, system=system, allowed=frozenset(range(8))).cpu_sets
    assert [one.cpus for one in cpu_sets] == [(0, 1), (2, 3, 4), (5, 6, 7)]


def test_a_kernel_that_names_no_nodes_has_one(tmp_path: Path) -> None:
    assert assign_cpus("auto", system=tmp_path, allowed=frozenset({0, 1})).cpu_sets == (
        CpuSet((0, 1), 2),
    )


def test_more_processes_than_cores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than the 2 cores"):
        assign_cpus(3, system=tmp_path, allowed=frozenset({0, 1}))


def test_this_machines_processors_can_be_assigned() -> None:
    (one,) = assign_cpus(1).cpu_sets
    assert 1 <= one.threads <= len(one.cpus)


def test_ranges_of_processors_read_as_the_kernel_writes_them() -> None:
    assert cpu_ranges((0, 1, 2, 5, 7, 8)) == "0-2,5,7-8"
