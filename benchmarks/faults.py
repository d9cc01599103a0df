"""How often a run that is killed at random moments has the same result as one that is not.

    venv/bin/python benchmarks/faults.py [--kills 200] [--seed 3] [--processes 2]

Runs of a model with two layers are killed, one process of each with SIGKILL, and started again
until they finish. The adapter and moments are then compared, byte for byte, with those of a run
that was not killed. The last line is one JSON document.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    from tests.killed_runs import counted_kills

    from journeyman.machine.processor import describe_machine

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = counted_kills(
            Path(folder),
            count=arguments.kills,
            seed=arguments.seed,
            processes=arguments.processes,
        )
    found = {"machine": describe_machine(), "processes": arguments.processes, **counts}
    print(json.dumps({"benchmark": "faults"} | found))


if __name__ == "__main__":
    main()
