"""Groups of real processes over gloo: sums, stops, and a process that was killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from journeyman.train.parallel.group import RENDEZVOUS, ProcessGroup
from tests.waiting import HANG_S

CODE = """
import json, os, signal, sys, torch
from journeyman.train.parallel.group import PeerLost, process_group
with process_group() as group:
    tensors = [torch.full((2, 3), 1.0 + group.rank), torch.tensor([0.1 * (group.rank + 1)])]
    group.sum_(tensors)
    mine = [torch.arange(3.0) + group.rank]
    group.broadcast_(mine)
    found = {
        "sum": [tensor.tolist() for tensor in tensors],
        "numbers": group.sum_numbers([1.0, 2.0**52]),
        "first": mine[0].tolist(),
        "text": group.broadcast_text(f"text of {group.rank}"),
        "stop": [group.any_stop(False), group.any_stop(group.rank == 1)],
    }
    group.sum_numbers([0.0])
    print(json.dumps(found), flush=True)
    if group.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        group.sum_numbers([0.0])
    except PeerLost as error:
        print(error.message, error.exit_code)
    import torch.distributed.nn.functional
threads = [open(f"/proc/self/task/{one}/comm").read() for one in os.listdir("/proc/self/task")]
print([one for one in threads if "gloo" in one])
"""


def started(size: int, rendezvous: Path) -> list["subprocess.Popen[str]"]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", CODE],
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "GLOO_SOCKET_IFNAME": "lo",
                RENDEZVOUS: str(rendezvous),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The lines of two processes, of which the second is killed at the end."""
    processes = started(2, tmp_path_factory.mktemp("rendezvous") / "here")
    lines = [process.communicate(timeout=HANG_S)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL]
    return lines


def test_every_process_gets_the_same_sums_and_the_first_ones_values(
    outputs: list[list[str]],
) -> None:
    found = [json.loads(lines[0]) for lines in outputs]
    assert found[0] == found[1]
    # 1 + 2, and 0.1 + 0.2 in float32.
    assert found[0]["sum"][0] == [[3.0] * 3] * 2
    assert found[0]["sum"][1] == pytest.approx([0.3])
    assert found[0]["numbers"] == [2.0, 2.0**53]
    assert found[0]["first"] == [0.0, 1.0, 2.0]
    assert found[0]["text"] == "text of 0"


def test_a_stop_requested_of_one_process_reaches_all(outputs: list[list[str]]) -> None:
    assert [json.loads(lines[0])["stop"] for lines in outputs] == [[False, True]] * 2


def test_a_process_that_is_killed_is_noticed_by_the_other(outputs: list[list[str]]) -> None:
    assert outputs[0][1].startswith("process 0 cannot go on: another process of this run has ended")
    assert outputs[0][1].endswith("75")


def test_no_thread_of_the_group_outlives_the_run(outputs: list[list[str]]) -> None:
    # Such a thread sometimes aborts the process when it frees a tensor while Python exits.
    assert outputs[0][2] == "[]"


def test_a_run_of_one_process_is_a_group_that_changes_nothing() -> None:
    group = ProcessGroup()
    assert (group.rank, group.size) == (0, 1)
    assert group.sum_numbers((1.5, 2.0)) == [1.5, 2.0]
    assert group.any_stop(True)
    assert not group.any_stop(False)
