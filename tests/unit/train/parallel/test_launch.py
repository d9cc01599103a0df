"""The processes of a run on one machine: bound to processors, stopped and ended together."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from journeyman.errors import Interrupted
from journeyman.train.parallel.affinity import CpuAssignment, CpuSet
from journeyman.train.parallel.launch import launch
from tests.waiting import wait_for

TWO = CpuAssignment(tuple(CpuSet(tuple(sorted(os.sched_getaffinity(0))), 1) for _ in range(2)), "")
PRELUDE = (
    "import os, pathlib, sys, time, signal\n"
    "def write(name, text=''):\n"
    "    path = pathlib.Path(sys.argv[1], name)\n"
    "    path.with_suffix('.tmp').write_text(text)\n"
    "    path.with_suffix('.tmp').rename(path)\n"
    "rank = os.environ['RANK']\n"
)


def python(code: str, folder: Path) -> list[str]:
    return [sys.executable, "-c", PRELUDE + code, str(folder)]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_each_process_knows_its_number_and_stays_on_its_processors(tmp_path: Path) -> None:
    code = "write(rank, f'{sorted(os.sched_getaffinity(0))} {os.environ[\"WORLD_SIZE\"]}')"
    cpu = min(os.sched_getaffinity(0))
    cpu_sets = (CpuSet((cpu,), 1), CpuSet(TWO.cpu_sets[0].cpus, 2))
    before = os.sched_getaffinity(0)
    assert launch(python(code, tmp_path), CpuAssignment(cpu_sets, "")) == 0
    assert (tmp_path / "0").read_text() == f"[{cpu}] 2"
    assert (tmp_path / "1").read_text() == f"{list(cpu_sets[1].cpus)} 2"
    assert os.sched_getaffinity(0) == before


def test_the_exit_code_of_a_process_that_fails_is_that_of_the_run(tmp_path: Path) -> None:
    assert launch(python("sys.exit(6 if rank == '1' else 0)", tmp_path), TWO) == 6


def test_a_killed_process_ends_the_run_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other process here never notices; a training process does, by its connection.
    monkeypatch.setattr("journeyman.train.parallel.launch._GRACE_S", 0.5)
    code = (
        "write(f'pid-{rank}', str(os.getpid()))\n"
        "while rank == '1' and not pathlib.Path(sys.argv[1], 'pid-0').exists(): time.sleep(0.01)\n"
        "if rank == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(600)"
    )
    with pytest.raises(Interrupted, match="process 1 of 2 was killed by SIGKILL") as caught:
        launch(python(code, tmp_path), TWO)
    assert caught.value.exit_code == 75
    assert not alive(int((tmp_path / "pid-0").read_text()))


def test_a_signal_reaches_every_process(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\nwrite(rank)\ntime.sleep(600)"

    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        files = (tmp_path / "0", tmp_path / "1")
        wait_for("both processes take signals", lambda: all(file.exists() for file in files))
        wait_for("the launcher does", lambda: signal.getsignal(signal.SIGINT) != before)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert launch(python(code, tmp_path), TWO) == 75
    assert signal.getsignal(signal.SIGINT) == before


def test_the_processes_end_if_their_parent_is_killed(tmp_path: Path) -> None:
    inner = f"{PRELUDE}write(f'pid-{{rank}}', str(os.getpid()))\ntime.sleep(600)\n"
    outer = (
        "import sys\n"
        "from journeyman.train.parallel.launch import launch\n"
        "from journeyman.train.parallel.affinity import CpuAssignment, CpuSet\n"
        f"launch([sys.executable, '-c', {inner!r}, sys.argv[1]],"
        f" CpuAssignment((CpuSet({TWO.cpu_sets[0].cpus}, 1),) * 2, ''))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", outer, str(tmp_path)])
    files = [tmp_path / "pid-0", tmp_path / "pid-1"]
    wait_for("both processes run", lambda: all(file.exists() for file in files))
    parent.kill()
    parent.wait()
    pids = [int(file.read_text()) for file in files]
    wait_for("both processes end", lambda: not any(alive(pid) for pid in pids))
