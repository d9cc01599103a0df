"""Where the processes of a run go, on machines that exist as folders of the kernel's own form."""

from pathlib import Path

import pytest

from journeyman.errors import UsageError
from journeyman.train.parallel.affinity import Place, layout, ranges


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
    found = layout("auto", system=machine(tmp_path, ["0-3", "4-7"]), allowed=frozenset(range(8)))
    assert found.places == (Place((0, 1, 2, 3), 4), Place((4, 5, 6, 7), 4))
    assert found.reason == (
        "2 processes, one for each NUMA node, because memory of another node is slower; "
        "on processors 0-3 (4 threads); 4-7 (4 threads)"
    )


def test_two_hardware_threads_of_a_core_are_one_thread_and_never_parted(tmp_path: Path) -> None:
    pairs = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    system = machine(tmp_path, ["0-7"], siblings=pairs)
    found = layout(2, system=system, allowed=frozenset(range(8)))
    assert found.places == (Place((0, 1, 4, 5), 2), Place((2, 3, 6, 7), 2))


def test_processors_that_may_not_be_used_are_given_to_nobody(tmp_path: Path) -> None:
    system = machine(tmp_path, ["0-3", "4-7"])
    assert layout("auto", system=system, allowed=frozenset({1, 2})).places == (Place((1, 2), 2),)
    assert "one NUMA node" in layout("auto", system=system, allowed=frozenset({1})).reason


def test_twice_as_many_processes_as_nodes_stay_within_them(tmp_path: Path) -> None:
    system = machine(tmp_path, ["0-2", "3-5"])
    places = layout(4, system=system, allowed=frozenset(range(6))).places
    assert [place.cpus for place in places] == [(0,), (1, 2), (3,), (4, 5)]


def test_a_count_that_no_node_divides_shares_all_cores_evenly(tmp_path: Path) -> None:
    system = machine(tmp_path, ["0-3", "4-7"])
    places = layout(3, system=system, allowed=frozenset(range(8))).places
    assert [place.cpus for place in places] == [(0, 1), (2, 3, 4), (5, 6, 7)]


def test_a_kernel_that_names_no_nodes_has_one(tmp_path: Path) -> None:
    assert layout("auto", system=tmp_path, allowed=frozenset({0, 1})).places == (Place((0, 1), 2),)


def test_more_processes_than_cores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than the 2 cores"):
        layout(3, system=tmp_path, allowed=frozenset({0, 1}))


def test_this_machine_can_be_laid_out() -> None:
    (place,) = layout(1).places
    assert 1 <= place.threads <= len(place.cpus)


def test_processors_read_as_the_kernel_writes_them() -> None:
    assert ranges((0, 1, 2, 5, 7, 8)) == "0-2,5,7-8"
