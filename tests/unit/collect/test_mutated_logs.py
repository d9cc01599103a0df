"""Damaged logs: each line is read unchanged or reported; `benchmarks/mutations.py` does more."""

import random
from pathlib import Path

from tests.mutated_logs import check_read, mutated, rich_log


def test_the_log_that_is_damaged_is_whole_before(tmp_path: Path) -> None:
    assert check_read(tmp_path / "log.jsonl", rich_log()) == "read whole"


def test_no_damage_stops_the_reader_or_alters_a_row(tmp_path: Path) -> None:
    chance = random.Random(2)
    path = tmp_path / "log.jsonl"
    ends = [check_read(path, mutated(rich_log(), chance)) for _ in range(1000)]
    assert {"read whole", "read in part"} <= set(ends)
