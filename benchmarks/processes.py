"""One training process with all threads compared with one process a core: throughput and losses.

Caveats first. Throughput is in real tokens a second of the steps only, without loading. The two
kinds of run take turns: ratios hold even if the machine's speed drifts, but absolute numbers do
not. The losses of both differ only by the order in which gradients are summed.

    venv/bin/python benchmarks/processes.py [--data FOLDER] [--base NAME] [--steps N] [--pairs N]

The last line is one JSON document.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.machine.processor import describe_machine
from journeyman.runs import versions
from journeyman.train.checkpoint.read import STATE
from journeyman.train.state import State


class MeasuredRun(Struct, frozen=True):
    """One run: real tokens a second of its steps, losses by step, processor seconds."""

    tokens_per_s: float
    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    processor_s: float


def trained(
    arguments: argparse.Namespace, folder: Path, *, processes: int, threads: int
) -> MeasuredRun:
    """Train in a new folder, in another process."""
    command = [sys.executable, "-m", "journeyman", "train"]
    command += ["--base", arguments.base, "--data-dir", str(arguments.data)]
    command += ["--output-dir", str(folder), "--max-steps", str(arguments.steps)]
    command += ["--processes", str(processes), "--threads", str(threads)]
    command += ["--save-steps", str(arguments.steps), "--eval-steps", str(arguments.steps)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = (folder / f"checkpoint-{arguments.steps}" / STATE).read_bytes()
    state = msgspec.json.decode(text, type=State)
    return MeasuredRun(
        tokens_per_s=state.real_tokens / state.seconds,
        losses=tuple(one.loss for one in state.taken),
        validation_losses=tuple(one.loss for one in state.validations),
        processor_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("demo/dataset"))
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    kinds = {"one_process": (1, cores), "one_a_core": (cores, 1)}
    runs: dict[str, list[MeasuredRun]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch:
        for pair in range(arguments.pairs):
            for name, (processes, threads) in kinds.items():
                folder = Path(scratch) / f"{name}-{pair}"
                run = trained(arguments, folder, processes=processes, threads=threads)
                runs[name].append(run)
                print(f"{name:12} {run.tokens_per_s:8.1f} real tokens/s", file=sys.stderr)
    one, many = runs["one_process"], runs["one_a_core"]
    ratios = [b.tokens_per_s / a.tokens_per_s for a, b in zip(one, many, strict=True)]
    losses = list(zip(one[0].losses, many[0].losses, strict=True))
    for step, (left, right) in enumerate(losses, start=1):
        print(f"step {step:3}  {left:.6f}  {right:.6f}  {right - left:+.1e}", file=sys.stderr)
    result = {
        "benchmark": "processes",
        "machine": describe_machine(),
        "versions": versions(),
        "base": arguments.base,
        "kinds": {name: {"processes": p, "threads": t} for name, (p, t) in kinds.items()},
        "tokens_per_s": {k: [round(x.tokens_per_s, 1) for x in v] for k, v in runs.items()},
        "processor_s": {k: [round(x.processor_s, 1) for x in v] for k, v in runs.items()},
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "losses": {"one_process": one[0].losses, "one_a_core": many[0].losses},
        "validation_losses": {
            "one_process": one[0].validation_losses,
            "one_a_core": many[0].validation_losses,
        },
        "largest_loss_difference": max(abs(a - b) for a, b in losses),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
