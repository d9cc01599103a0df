"""The tightest limit on memory counts, also a cgroup's."""

from pathlib import Path

from journeyman.machine.disk import free_bytes
from journeyman.machine.memory_limits import memory_room

GIB = 2**30


def machine(folder: Path, cgroup: str) -> tuple[Path, Path]:
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 25165824 kB\nMemAvailable: 20971520 kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    return proc, cgroups


def limit(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, "0::/user.slice\n")
    limit(cgroups / "user.slice", {"memory.max": "max\n", "memory.current": "5\n"})
    room = memory_room(proc=proc, cgroups=cgroups)
    assert (room.limit_bytes, room.available_bytes) == (24 * GIB, 20 * GIB)
    assert room.limited_by == "the machine's memory"


def test_the_limit_of_an_outer_group_counts_and_cached_files_are_free(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, "0::/outer/inner\n")
    limit(cgroups / "outer" / "inner", {"memory.max": "max\n", "memory.current": "5\n"})
    limit(
        cgroups / "outer",
        {
            "memory.max": f"{8 * GIB}\n",
            "memory.current": f"{5 * GIB}\n",
            "memory.stat": f"anon 1\ninactive_file {2 * GIB}\n",
        },
    )
    room = memory_room(proc=proc, cgroups=cgroups)
    assert (room.limit_bytes, room.available_bytes) == (8 * GIB, 5 * GIB)
    assert "`outer`" in room.limited_by


def test_version_1_is_read_too_and_its_huge_number_is_no_limit(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, "4:memory:/box\n1:cpu:/box\n")
    files = {"memory.limit_in_bytes": f"{4 * GIB}", "memory.usage_in_bytes": f"{GIB}"}
    limit(cgroups / "memory" / "box", files)
    limit(cgroups / "memory", {**files, "memory.limit_in_bytes": "9223372036854771712"})
    room = memory_room(proc=proc, cgroups=cgroups)
    assert (room.limit_bytes, room.available_bytes) == (4 * GIB, 3 * GIB)


def test_this_machine_has_memory_and_a_disk(tmp_path: Path) -> None:
    assert 0 < memory_room().available_bytes <= memory_room().limit_bytes
    assert free_bytes(tmp_path / "not" / "there" / "yet") > 0
