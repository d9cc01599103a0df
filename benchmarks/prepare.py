"""How long `prepare` takes and how much memory, by the size of the log; the last line is JSON.

The log is made by chance: 2 KB a row, every tenth prompt a near-duplicate of another, two rows in
three without a finish reason. `--full` adds a million rows (about 2 GB of log, 8 GB of disk).
"""

import itertools
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (10_000, 100_000)
FULL = 1_000_000
_CODE = """
import sys, time, resource
from pathlib import Path
from journeyman.prepare.stage import prepare
from journeyman.settings import PrepareSettings
start = time.monotonic()
prepared = prepare(PrepareSettings(input=Path(sys.argv[1]), output_dir=Path(sys.argv[2])))
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(time.monotonic() - start, own, workers, prepared.metadata.training_examples)
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


def measure(rows: int) -> dict[str, float]:
    """One run in a process of its own. RSS of the workers is that of the largest of them."""
    with tempfile.TemporaryDirectory(dir=sys.argv[-1] if _has_folder() else None) as name:
        log = Path(name) / "log.jsonl"
        write_log(log, rows)
        size_bytes = log.stat().st_size
        command = [sys.executable, "-c", _CODE, str(log), str(Path(name) / "data")]
        start = time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, own_kib, workers_kib, used = map(float, done.stdout.split())
        return {
            "rows": rows,
            "log_bytes": size_bytes,
            "seconds": round(seconds, 1),
            "wall_s": round(time.monotonic() - start, 1),
            "rss_mib": round(own_kib / 1024),
            "largest_worker_rss_mib": round(workers_kib / 1024),
            "used_rows": used,
        }


def _has_folder() -> bool:
    return len(sys.argv) > 1 and not sys.argv[-1].startswith("--")


def main() -> None:
    sizes = (*SIZES, FULL) if "--full" in sys.argv else SIZES
    runs = []
    for rows in sizes:
        runs.append(measure(rows))
        one = runs[-1]
        print(
            f"{rows:>9,} rows  {one['seconds']:>7.1f} s  {1e6 * one['seconds'] / rows:>6.0f} us/row"
            f"  {one['rss_mib']:>6.0f} MiB, largest worker {one['largest_worker_rss_mib']:.0f} MiB"
        )
    growth = [
        round(
            math.log(last["seconds"] / first["seconds"]) / math.log(last["rows"] / first["rows"]), 3
        )
        for first, last in itertools.pairwise(runs)
    ]
    print(f"seconds grow as rows to the power of {growth} (n log n: about 1.09)")
    print(json.dumps({"benchmark": "prepare", "runs": runs, "growth": growth}))


if __name__ == "__main__":
    main()
