"""Kills training runs at random moments, and counts what became of them.

    python -m tests.killed_runs FOLDER COUNT SEED PROCESSES

One process loads everything once and forks the processes of a run for each attempt, of which any
one is killed. A run that reaches its end is compared, byte for byte, with one of as many processes
that nobody killed. The last line is one JSON document.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from journeyman.settings import TrainSettings
from journeyman.train.parallel.group import RENDEZVOUS, PeerLost
from tests.training_runs import names, short_run

STEPS = 12
GRACE_S = 10.0
"""How long the other process of a killed one has to notice."""
COMPARED = (
    "final_model/adapter_model.safetensors",
    f"checkpoint-{STEPS}/adapter_model.safetensors",
    f"checkpoint-{STEPS}/optimizer.safetensors",
)


def counted_kills(folder: Path, *, count: int, seed: int, processes: int = 1) -> dict[str, int]:
    """Run this module in a process of its own, in which no thread was started before the forks."""
    numbers = (str(number) for number in (count, seed, processes))
    command = [sys.executable, "-m", "tests.killed_runs", str(folder), *numbers]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parent.parent,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def _started(settings: TrainSettings, processes: int) -> list[int]:
    """The process ids of children that train together."""
    settings.output_dir.mkdir(exist_ok=True)
    meeting = settings.output_dir.parent / f"meeting-{time.monotonic_ns()}"
    children = []
    for rank in range(processes):
        child = os.fork()
        if not child:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes)}
            os.environ |= {RENDEZVOUS: str(meeting), "GLOO_SOCKET_IFNAME": "lo"}
            _train(settings)
        children.append(child)
    return children


def _train(settings: TrainSettings) -> NoReturn:
    try:
        from journeyman.train.stage import train

        train(settings)
        os._exit(0)
    except PeerLost as error:
        os._exit(error.exit_code)
    finally:
        os._exit(1)


def _ended_within(children: list[int], seconds: float, chance: random.Random) -> bool:
    """Whether the children end by themselves in that time; else any one of them is killed."""
    left = _left_after(children, seconds, allowed={0})
    if not left:
        return True
    one = chance.choice(left)
    os.kill(one, signal.SIGKILL)
    os.waitpid(one, 0)
    left.remove(one)
    # One that had not met the other yet would wait for it: `journeyman train` ends it too.
    for other in _left_after(left, GRACE_S, allowed={0, PeerLost.exit_code}):
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    return False


def _left_after(children: list[int], seconds: float, *, allowed: set[int]) -> list[int]:
    """The children that still run after that time; the others ended with an exit code allowed."""
    left, end = list(children), time.monotonic() + seconds
    while left and time.monotonic() < end:
        for child in list(left):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                assert os.waitstatus_to_exitcode(status) in allowed, status
                left.remove(child)
        time.sleep(0.002)
    return left


def _main(folder: Path, count: int, seed: int, processes: int) -> None:
    # What each run would import anew otherwise: only then are 200 runs cheap.
    import matplotlib.backends.backend_agg
    import matplotlib.figure
    import peft
    import torch.utils.tensorboard

    import journeyman.train.session
    from tests.small_models import small_dataset, small_model

    del matplotlib, peft, torch, journeyman
    base = small_model(folder / "base", "llama")
    data = small_dataset(folder / "data", train=10, val=3)
    chance = random.Random(seed)
    for name in ("first", "whole"):
        # The first of all pays for what the later ones find warm.
        started = time.monotonic()
        settings = short_run(base, data, folder / name, epochs=4.0)
        assert _ended_within(_started(settings, processes), 600, chance)
    whole_s = time.monotonic() - started
    counts = {"kills": 0, "runs": 0, "unequal": 0, "quarantined": 0, "left_over": 0}
    while counts["kills"] < count:
        output = folder / f"run-{counts['runs']}"
        settings = short_run(base, data, output, epochs=4.0)
        while True:
            patience_s = 600.0 if counts["kills"] >= count else chance.uniform(0.0, whole_s)
            if _ended_within(_started(settings, processes), patience_s, chance):
                break
            counts["kills"] += 1
        counts["runs"] += 1
        equal = [
            (output / name).read_bytes() == (folder / "whole" / name).read_bytes()
            for name in COMPARED
        ]
        counts["unequal"] += not all(equal)
        counts["quarantined"] += "quarantine" in names(output)
        counts["left_over"] += any(name.startswith(".tmp-") for name in names(output))
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:]))
