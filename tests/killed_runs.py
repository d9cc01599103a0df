"""Kills training runs at random moments, and counts what became of them.

    python -m tests.killed_runs FOLDER COUNT SEED

One process loads everything once and forks a run for each attempt. A run that reaches its end is
compared, byte for byte, with one that nobody killed. The last line is one JSON document.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from journeyman.settings import TrainSettings
from tests.training_runs import names, short_run

STEPS = 12
COMPARED = (
    "final_model/adapter_model.safetensors",
    f"checkpoint-{STEPS}/adapter_model.safetensors",
    f"checkpoint-{STEPS}/optimizer.safetensors",
)


def counted_kills(folder: Path, *, count: int, seed: int) -> dict[str, int]:
    """Run this module in a process of its own, in which no thread was started before the forks."""
    command = [sys.executable, "-m", "tests.killed_runs", str(folder), str(count), str(seed)]
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


def _trained(settings: TrainSettings) -> int:
    """A child that trains; gives its process id."""
    child = os.fork()
    if child:
        return child
    try:
        from journeyman.train.stage import train

        train(settings)
        os._exit(0)
    finally:
        os._exit(1)


def _ended_within(child: int, seconds: float) -> bool:
    """Whether the child ends by itself in that time; else it is killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert status == 0, status
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _main(folder: Path, count: int, seed: int) -> None:
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
    started = time.monotonic()
    assert _ended_within(_trained(short_run(base, data, folder / "whole", epochs=4.0)), 600)
    longest_s = time.monotonic() - started
    counts = {"kills": 0, "runs": 0, "unequal": 0, "quarantined": 0, "left_over": 0}
    while counts["kills"] < count:
        output = folder / f"run-{counts['runs']}"
        settings = short_run(base, data, output, epochs=4.0)
        while not _ended_within(_trained(settings), _patience_s(chance, counts, count, longest_s)):
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


def _patience_s(
    chance: random.Random, counts: dict[str, int], count: int, longest_s: float
) -> float:
    return 600.0 if counts["kills"] >= count else chance.uniform(0.0, longest_s)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
