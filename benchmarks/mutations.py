"""How many of very many damaged logs are read wrongly; there must be none.

    venv/bin/python benchmarks/mutations.py [--count 100000] [--seed 5]

Nine in ten are logs in the project's own format, and each of their rows is compared with Python's
own strict reader. The others are files in every format that `collect log` reads; they must be read
or refused with a message. The first failure ends the run and shows its seed and bytes. The last
line is one JSON document.
"""

import argparse
import json
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    from tests.log_files import FOLDER
    from tests.mutated_logs import check_read, import_any, mutated, rich_log

    from journeyman.machine.processor import describe_machine

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    log = rich_log()
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        others = [_as_file(path, Path(folder)) for path in sorted(FOLDER.iterdir())]
        path = Path(folder) / "log.jsonl"
        own: Counter[str] = Counter()
        imported: Counter[str] = Counter()
        for number in range(arguments.count):
            chance = random.Random(f"{arguments.seed}/{number}")
            foreign = number % 10 == 0
            data = mutated(chance.choice(others) if foreign else log, chance)
            try:
                if foreign:
                    imported[import_any(path, data)] += 1
                else:
                    own[check_read(path, data)] += 1
            except BaseException:
                print(f"mutant {arguments.seed}/{number}: {data!r}", file=sys.stderr)
                raise
    found = {"machine": describe_machine(), "count": arguments.count, "wrong": 0}
    print(json.dumps({"benchmark": "mutations"} | found | {"own": own, "imported": imported}))


def _memory() -> str | None:
    """A folder in memory, if there is one: the files are temporary."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _as_file(path: Path, folder: Path) -> bytes:
    """The bytes of a fixture; if it is SQL, the bytes of the database that it makes."""
    if path.suffix != ".sql":
        return path.read_bytes()
    database = folder / path.stem
    connection = sqlite3.connect(database)
    connection.executescript(path.read_text(encoding="utf-8"))
    connection.commit()
    connection.close()
    return database.read_bytes()


if __name__ == "__main__":
    main()
