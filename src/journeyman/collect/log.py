"""The stage `collect log`: turns logs of other programs into one file in this project's format.

Covered: every row of every file is counted once, as kept, duplicate, left out or faulty; the output
is complete or missing. Not covered: whether an answer is any good (`journeyman.prepare`).
Memory: one row at a time, and about 300 bytes per interaction for the ids seen so far (session
files and JSON lists are read whole, see their formats).
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.collect.detect import detect
from journeyman.collect.formats.registry import format_named
from journeyman.collect.reading.log_format import Format
from journeyman.collect.reading.row_result import RowResult, SkippedLogRow
from journeyman.collect.reading.sqlite import is_sqlite
from journeyman.data.interactions import write_interactions
from journeyman.data.role_prompts import ROLE_PROMPTS
from journeyman.errors import DataRefused, IntegrityError, UsageError
from journeyman.events import Caution, Note, Progress, ProgressEnded, Reporter, StageStarted, ignore
from journeyman.files import LineFault, content_id
from journeyman.records import Interaction
from journeyman.settings import CollectLogSettings

ROWS_BETWEEN_EVENTS = 1000
FAULTS_SHOWN = 20
SHOWN_LENGTH = 300


class FileFault(Struct, frozen=True):
    """A broken row: its file and line, and what is wrong with it."""

    path: Path
    line: int
    reason: str
    torn: bool = False


class LogCollection(Struct, frozen=True):
    """The result. `rows` is the sum of `kept`, `duplicates`, `left_out` and `faulty`.

    A row may give several interactions. `formats` has one name per file, in their order.
    """

    path: Path
    formats: tuple[str, ...]
    rows: int
    interactions: int
    kept: int
    duplicates: int
    left_out: dict[str, int]
    faulty: int
    faults: tuple[FileFault, ...]


def collect_log(
    paths: Sequence[Path], settings: CollectLogSettings, report: Reporter = ignore
) -> LogCollection:
    """Write the interactions of some logs to one file. Equal input gives equal bytes.

    Raises, and writes nothing: UsageError for a file without a known format or that is also the
    output, DataRefused if too many rows are broken or no interaction is left, IntegrityError if a
    file changes while it is read.
    """
    _check(paths, settings, report)
    forced = format_named(settings.format) if settings.format else None
    files = [(path, forced or detect(path)) for path in paths]
    formats = Counter(one.name for _, one in files)
    counts = ", ".join(f"{name} {count}" for name, count in formats.items())
    report(StageStarted("collect log", f"files by format: {counts}"))
    tally = _Tally(settings, report)
    write_interactions(settings.output, tally.interactions(files))
    report(ProgressEnded("collect", tally.summary()))
    for fault in tally.faults:
        report(Caution(f"left out: {_located(fault)}"))
    for reason, count in tally.left_out.most_common(FAULTS_SHOWN):
        report(Note(f"left out {count}: {reason}"))
    return tally.result(settings.output, tuple(one.name for _, one in files))


class _Tally:
    """Counts every row once while its interactions pass through."""

    def __init__(self, settings: CollectLogSettings, report: Reporter) -> None:
        self._settings = settings
        self._report = report
        self._content: dict[str, str] = {}
        self.rows = self.written = self.kept = self.duplicates = self.faulty = self.broken = 0
        self.left_out: Counter[str] = Counter()
        self.faults: list[FileFault] = []

    def interactions(self, files: Sequence[tuple[Path, Format]]) -> Iterator[Interaction]:
        """The interactions of all files. Raises at the end if too many rows are broken."""
        for path, one in files:
            before = _fingerprint(path)
            for results in one.read(path, self._settings.agent):
                yield from self._row(path, results)
            if _fingerprint(path) != before and not is_sqlite(path):
                raise IntegrityError(
                    f"`{path}` changed while it was read",
                    hint="wait until nothing writes to it, or copy it first",
                )
        self._refuse_bad_input()

    def _row(self, path: Path, results: Sequence[RowResult]) -> Iterator[Interaction]:
        interactions = [one for one in results if isinstance(one, Interaction)]
        new = [unique for one in interactions if (unique := self._unique(one)) is not None]
        faults = [one for one in results if isinstance(one, LineFault)]
        reasons = [one.reason for one in results if isinstance(one, SkippedLogRow)]
        self.rows += 1
        self.written += len(new)
        if faults:
            self._fault(path, faults)
        elif new:
            self.kept += 1
        elif interactions:
            self.duplicates += 1
        else:
            self.left_out[_printable(reasons[0])] += 1
        if self.rows % ROWS_BETWEEN_EVENTS == 0:
            self._report(Progress("collect", self.rows, unit="rows"))
        yield from new

    def _fault(self, path: Path, faults: Sequence[LineFault]) -> None:
        torn = all(fault.torn for fault in faults)
        self.faulty += 1
        self.broken += not torn
        if len(self.faults) < max(FAULTS_SHOWN, self._settings.max_bad_lines + 1):
            reason = _printable("; ".join(fault.reason for fault in faults))
            self.faults.append(FileFault(path, faults[0].line, reason, torn))

    def _unique(self, item: Interaction) -> Interaction | None:
        """The interaction with an id that no other content has; None for a duplicate."""
        data = msgspec.json.encode(msgspec.structs.replace(item, id="", line=0))
        content = content_id(data.decode())
        if self._content.get(item.id, content) != content:
            # Two logs may use the same ids; then the id is made of the content.
            item = msgspec.structs.replace(item, id=content)
        if item.id in self._content:
            return None
        self._content[item.id] = content
        return item

    def _refuse_bad_input(self) -> None:
        shown = "".join(f"\n  {_located(fault)}" for fault in self.faults[:FAULTS_SHOWN])
        if self.broken > self._settings.max_bad_lines:
            more = self.faulty - len(self.faults[:FAULTS_SHOWN])
            raise DataRefused(
                f"{self.broken} of {self.rows} rows cannot be read:{shown}"
                + (f"\n  and {more} more" if more else ""),
                hint=f"repair these rows, or leave them out: --max-bad-lines {self.broken}",
            )
        if not self.written:
            reasons = "".join(
                f"\n  {count} times: {reason}"
                for reason, count in self.left_out.most_common(FAULTS_SHOWN)
            )
            raise DataRefused(
                f"none of {self.rows} rows gives an interaction{':' if reasons else ''}{reasons}",
                hint="check that the log holds the answers; see `journeyman collect formats`",
            )

    def summary(self) -> str:
        """`rows 302: kept 298, duplicate 1, left out 2, faulty 1; interactions 310`."""
        return (
            f"rows {self.rows}: kept {self.kept}, duplicate {self.duplicates},"
            f" left out {self.left_out.total()}, faulty {self.faulty};"
            f" interactions {self.written}"
        )

    def result(self, path: Path, formats: tuple[str, ...]) -> LogCollection:
        """The counts as a record."""
        return LogCollection(
            path=path,
            formats=formats,
            rows=self.rows,
            interactions=self.written,
            kept=self.kept,
            duplicates=self.duplicates,
            left_out=dict(self.left_out),
            faulty=self.faulty,
            faults=tuple(self.faults),
        )


def _check(paths: Sequence[Path], settings: CollectLogSettings, report: Reporter) -> None:
    if not paths:
        raise UsageError("no file was given", hint="see `journeyman collect log --help`")
    if not settings.agent.strip():
        raise UsageError("the agent role is blank", hint="leave out `--agent` for `coder`")
    if settings.max_bad_lines < 0:
        raise UsageError(
            f"`--max-bad-lines` is {settings.max_bad_lines}",
            hint="give 0 or more; 0 tolerates no broken row",
        )
    missing = [f"`{path}`" for path in paths if not path.is_file()]
    if missing:
        one = "is not a file" if len(missing) == 1 else "are not files"
        raise UsageError(f"{', '.join(missing)} {one}", hint="check the path")
    for path in paths:
        if settings.output.exists() and path.samefile(settings.output):
            raise UsageError(
                f"`{path}` is both input and output", hint="choose another file with `--output`"
            )
    if settings.agent.strip().casefold() not in ROLE_PROMPTS:
        report(
            Caution(
                f"there is no prompt for the agent role `{settings.agent}`",
                hint=f"use one of {', '.join(ROLE_PROMPTS)}, or `prepare --prompts logged`",
            )
        )


def _fingerprint(path: Path) -> tuple[int, int, int]:
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _printable(text: str) -> str:
    """A reason that may quote the log: short, and without control characters for a terminal."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text[:SHOWN_LENGTH])
    return plain if len(text) <= SHOWN_LENGTH else f"{plain}..."


def _located(fault: FileFault) -> str:
    return f"`{fault.path}` line {fault.line}: {fault.reason}"
