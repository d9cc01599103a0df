"""The time and memory that `prepare` takes, by the size of the log; the last line is JSON.

The log is random: 2 KB a row, every tenth prompt a near-duplicate of another, two of three rows
without a finish reason. `--full` adds a million rows (about 2 GB of log, 10 GB of disk);
`--only ROWS` measures one size. If the last argument is a folder, it is used for temporary files.
"""

import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (10_000, 100_000)
FULL = 1_000_000
_SAMPLE_S = 0.2
_CODE = """
import sys, time
from pathlib import Path
from journeyman.prepare.stage import prepare
from journeyman.settings import PrepareSettings
start = time.monotonic()
prepared = prepare(PrepareSettings(input=Path(sys.argv[1]), output_dir=Path(sys.argv[2])))
print(time.monotonic() - start, prepared.metadata.training_examples)
"""


def write_log(path: Path, rows: int) -> None:
    """Rows of about 2 KB, the same for the same number."""
    chance = random.Random(rows)
    words = [
        "".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 9))) for _ in range(9000)
    ]
    prompts: list[list[str]] = []
    with path.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            if number % 10 == 9:
                prompt = list(chance.choice(prompts))
                prompt[chance.randrange(len(prompt))] = f"x{number}"
            else:
                prompt = chance.choices(words, k=40)
                prompts = [*prompts[-200:], prompt]
            stream.write(json.dumps(_row(chance, words, prompt, number)) + "\n")


def _row(
    chance: random.Random, words: list[str], prompt: list[str], number: int
) -> dict[str, object]:
    prose = " ".join(chance.choices(words, k=60))
    lines = "\n".join(
        f"    {chance.choice(words)} = {chance.choice(words)}({number}, {at})" for at in range(24)
    )
    answer = f"{prose}.\n\n```python\ndef run():\n{lines}\n```\n{prose}."
    execution: dict[str, object] = {"output": answer, "status": "success", "duration_ms": 900}
    if number % 3 == 0:
        execution["finish_reason"] = "stop"
    return {
        "id": f"row-{number}",
        "task": {"description": " ".join(prompt)},
        "agent": {"role": chance.choice(("coder", "tester", "reviewer"))},
        "llm": {"provider": "acme", "model": "qwen3-coder", "config": {"max_tokens": 2048}},
        "execution": execution,
    }


class Memory:
    """The most memory (RSS) of a process and its workers, sampled five times a second, in KiB.

    together: the largest sum at one moment. The system's own peak of ended children is of no use,
    because a process starts with the peak of its parent. (getrusage(2) after fork and exec.)
    """

    def __init__(self) -> None:
        self.own = self.worker = self.together = 0

    def look(self, process: int) -> None:
        """Sample /proc now."""
        own = _rss_kib(process)
        workers = [_rss_kib(child) for child in _children(process)]
        self.own = max(self.own, own)
        self.worker = max([self.worker, *workers])
        self.together = max(self.together, own + sum(workers))


def _rss_kib(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def _children(process: int) -> list[int]:
    try:
        # Workers are started by the main thread.
        return [
            int(x) for x in Path(f"/proc/{process}/task/{process}/children").read_text().split()
        ]
    except OSError:
        return []


def measure(rows: int) -> dict[str, float]:
    """One run in its own process. cpu_s: user and system time, workers included."""
    with tempfile.TemporaryDirectory(dir=sys.argv[-1] if _has_folder() else None) as name:
        log = Path(name) / "log.jsonl"
        write_log(log, rows)
        size_bytes = log.stat().st_size
        command = [sys.executable, "-c", _CODE, str(log), str(Path(name) / "data")]
        memory, before, start = Memory(), os.times(), time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                memory.look(process.pid)
                time.sleep(_SAMPLE_S)
            assert process.stdout is not None
            said = process.stdout.read()
        if process.returncode:
            raise SystemExit(f"prepare ended with {process.returncode}")
        seconds, used = map(float, said.split())
        after = os.times()
        return {
            "rows": rows,
            "log_bytes": size_bytes,
            "seconds": round(seconds, 1),
            "wall_s": round(time.monotonic() - start, 1),
            "cpu_s": round(
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system,
                1,
            ),
            "rss_mib": round(memory.own / 1024),
            "largest_worker_rss_mib": round(memory.worker / 1024),
            "together_rss_mib": round(memory.together / 1024),
            "used_rows": used,
        }


def _has_folder() -> bool:
    return len(sys.argv) > 1 and Path(sys.argv[-1]).is_dir()


def _growth(runs: list[dict[str, float]]) -> dict[str, object]:
    """With which power of the rows the seconds grow, from size to size and over all sizes.

    n_log_n: the power that n log n would give over all sizes. Least squares on logarithms.
    """
    points = [(math.log(run["rows"]), math.log(run["seconds"])) for run in runs]
    steps = [round((y - b) / (x - a), 3) for (a, b), (x, y) in itertools.pairwise(points)]
    if len(points) < 2:
        return {"steps": steps, "power": None, "n_log_n": None}
    even = [(x, x + math.log(x)) for x, _ in points]
    return {"steps": steps, "power": _slope(points), "n_log_n": _slope(even)}


def _slope(points: list[tuple[float, float]]) -> float:
    middle_x, middle_y = (statistics.fmean(values) for values in zip(*points, strict=True))
    above = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return round(above / sum((x - middle_x) ** 2 for x, _ in points), 3)


def _sizes() -> tuple[int, ...]:
    if "--only" in sys.argv:
        return (int(sys.argv[sys.argv.index("--only") + 1].replace(",", "")),)
    return (*SIZES, FULL) if "--full" in sys.argv else SIZES


def main() -> None:
    runs = []
    for rows in _sizes():
        runs.append(measure(rows))
        one = runs[-1]
        print(
            f"{rows:>9,} rows  {one['seconds']:>7.1f} s  {1e6 * one['seconds'] / rows:>6.0f} us/row"
            f"  CPU {1e6 * one['cpu_s'] / rows:>6.0f} us/row  {one['rss_mib']:>6.0f} MiB,"
            f" largest worker {one['largest_worker_rss_mib']:.0f} MiB,"
            f" together {one['together_rss_mib']:.0f} MiB",
            flush=True,
        )
    growth = _growth(runs)
    if len(runs) > 1:
        print(
            f"seconds grow as rows to the power of {growth['power']}"
            f" (from size to size {growth['steps']}; n log n: {growth['n_log_n']})"
        )
    print(json.dumps({"benchmark": "prepare", "runs": runs, "growth": growth}))


if __name__ == "__main__":
    main()
