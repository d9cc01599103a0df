"""The stage `collect log`: logs of other programs become one file in this project's format.

Covered: every row of every file is counted once, as kept, a duplicate, left out or faulty; the
output is whole or not there. Not covered: whether an answer is any good (`journeyman.prepare`).
Memory: a row at a time, and about 300 bytes an interaction for the ids that were seen (session
files and JSON lists are read whole, see their formats).
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from journeyman.collect.formats.detect import detect, format_named
from journeyman.collect.reading.format import Format, Item, SkippedLogRow
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
    """A row that could not be read: its file and line, and what is wrong with it."""

    path: Path
    line: int
    reason: str
    torn: bool = False


class LogCollection(Struct, frozen=True):
    """What was collected. `rows` is the sum of `kept`, `duplicates`, `left_out` and `faulty`.

    A row may give several interactions. `formats` has one name a file, in their order.
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
    """Write the interactions of some logs to one file; equal input gives equal bytes.

    Raises UsageError for files that cannot be read as a known format or are the output itself,
    DataRefused where more rows are broken than allowed or nothing is left, IntegrityError where a
    file changes while it is read. Then nothing is written.
    """
    _check(paths, settings, report)
    files = [(path, _format_of(path, settings)) for path in paths]
    formats = Counter(one.name for _, one in files)
    counted = ", ".join(f"{name} {count}" for name, count in formats.items())
    report(StageStarted("collect log", f"files by format: {counted}"))
    tally = _Tally(settings, report)
    write_interactions(settings.output, tally.interactions(files))
    report(ProgressEnded("collect", tally.summary()))
    for fault in tally.faults:
        report(Caution(f"left out, {_words(fault)}"))
    for reason, count in tally.left_out.most_common(FAULTS_SHOWN):
        report(Note(f"left out {count}: {reason}"))
    return tally.collected(settings.output, tuple(one.name for _, one in files))


class _Tally:
    """Counts every row once while the interactions pass through."""

    def __init__(self, settings: CollectLogSettings, report: Reporter) -> None:
        self._settings = settings
        self._report = report
        self._content: dict[str, str] = {}
        self.rows = self.written = self.kept = self.duplicates = self.faulty = self.broken = 0
        self.left_out: Counter[str] = Counter()
        self.faults: list[FileFault] = []

    def interactions(self, files: Sequence[tuple[Path, Format]]) -> Iterator[Interaction]:
        """The interactions of all files. Raises when all are read and there are too many faults."""
        for path, one in files:
            before = _fingerprint(path)
            for items in one.read(path, self._settings.agent):
                yield from self._row(path, items)
            if _fingerprint(path) != before and not is_sqlite(path):
                raise IntegrityError(
                    f"`{path}` changed while it was read",
                    hint="wait until its writer is done, or copy it first",
                )
        self._refuse_if_bad()

    def _row(self, path: Path, items: Sequence[Item]) -> Iterator[Interaction]:
        found = [item for item in items if isinstance(item, Interaction)]
        new = [unique for item in found if (unique := self._unique(item)) is not None]
        faults = [item for item in items if isinstance(item, LineFault)]
        left_out = [item.reason for item in items if isinstance(item, SkippedLogRow)]
        self.rows += 1
        self.written += len(new)
        if faults:
            self._fault(path, faults)
        elif new:
            self.kept += 1
        elif found:
            self.duplicates += 1
        else:
            self.left_out[_shown(left_out[0])] += 1
        if self.rows % ROWS_BETWEEN_EVENTS == 0:
            self._report(Progress("collect", self.rows, unit="rows"))
        yield from new

    def _fault(self, path: Path, faults: Sequence[LineFault]) -> None:
        torn = all(fault.torn for fault in faults)
        self.faulty += 1
        self.broken += not torn
        if len(self.faults) < max(FAULTS_SHOWN, self._settings.max_bad_lines + 1):
            reason = _shown("; ".join(fault.reason for fault in faults))
            self.faults.append(FileFault(path, faults[0].line, reason, torn))

    def _unique(self, item: Interaction) -> Interaction | None:
        """The interaction under an id that only its content has; None for one seen before."""
        data = msgspec.json.encode(msgspec.structs.replace(item, id="", line=0))
        content = content_id(data.decode())
        if self._content.get(item.id, content) != content:
            # Two logs may number their rows alike; the content then gives the id.
            item = msgspec.structs.replace(item, id=content)
        if item.id in self._content:
            return None
        self._content[item.id] = content
        return item

    def _refuse_if_bad(self) -> None:
        shown = "".join(f"\n  {_words(fault)}" for fault in self.faults[:FAULTS_SHOWN])
        if self.broken > self._settings.max_bad_lines:
            more = self.faulty - len(self.faults[:FAULTS_SHOWN])
            raise DataRefused(
                f"{self.broken} of {self.rows} rows cannot be read:{shown}"
                + (f"\n  and {more} more" if more else ""),
                hint=f"mend these rows, or leave them out: --max-bad-lines {self.broken}",
            )
        if not self.written:
            reasons = "".join(
                f"\n  {count} times: {reason}"
                for reason, count in self.left_out.most_common(FAULTS_SHOWN)
            )
            raise DataRefused(
                f"none of {self.rows} rows gives an interaction{':' if reasons else ''}{reasons}",
                hint="see `journeyman collect formats`, and whether the log holds the answers",
            )

    def summary(self) -> str:
        """`rows 302: kept 298, duplicate 1, left out 2, faulty 1; interactions 310`."""
        return (
            f"rows {self.rows}: kept {self.kept}, duplicate {self.duplicates},"
            f" left out {self.left_out.total()}, faulty {self.faulty};"
            f" interactions {self.written}"
        )

    def collected(self, path: Path, formats: tuple[str, ...]) -> LogCollection:
        """The record of it all."""
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
        raise UsageError("no file is named", hint="see `journeyman collect log --help`")
    if not settings.agent.strip():
        raise UsageError("the agent role is blank", hint="leave `--agent` out for `coder`")
    if settings.max_bad_lines < 0:
        raise UsageError(
            f"`--max-bad-lines` is {settings.max_bad_lines}", hint="0 tolerates no broken row"
        )
    missing = [f"`{path}`" for path in paths if not path.is_file()]
    if missing:
        one = "is not a file" if len(missing) == 1 else "are not files"
        raise UsageError(f"{', '.join(missing)} {one}", hint="check the path")
    for path in paths:
        if settings.output.exists() and path.samefile(settings.output):
            raise UsageError(
                f"`{path}` is both input and output", hint="name another file with `--output`"
            )
    if settings.agent.strip().casefold() not in ROLE_PROMPTS:
        report(
            Caution(
                f"the agent role `{settings.agent}` has no prompt here",
                hint=f"known are {', '.join(ROLE_PROMPTS)}; or prepare with --prompts logged",
            )
        )


def _format_of(path: Path, settings: CollectLogSettings) -> Format:
    return format_named(settings.format) if settings.format else detect(path)


def _fingerprint(path: Path) -> tuple[int, int, int]:
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _shown(text: str) -> str:
    """A reason that may quote a log: short, and with nothing that a terminal would obey."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text[:SHOWN_LENGTH])
    return plain if len(text) <= SHOWN_LENGTH else f"{plain}..."


def _words(fault: FileFault) -> str:
    return f"`{fault.path}` line {fault.line}: {fault.reason}"
