"""Reasons to refuse settings, a folder or a log; all reasons of one kind are reported at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from journeyman.data.dataset import LEDGER, METADATA, PAGE, TEST, TRAIN, VAL
from journeyman.errors import DataRefused, UsageError
from journeyman.events import Caution, Reporter, Table, counted
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.registry import Treatment
from journeyman.prepare.split.group_split import SPLITS, SplitCounts
from journeyman.runs import MANIFEST
from journeyman.settings import PrepareSettings

DATASET_FILES = (TRAIN, VAL, TEST, METADATA, LEDGER, PAGE, MANIFEST)
KEPT_FILES = (".gitignore", ".gitkeep")
_SHOWN = 10


def require_settings(settings: PrepareSettings) -> None:
    """Raise UsageError that names every setting that is out of range."""
    train, val = settings.train_share, settings.val_share
    faults = []
    if not (train > 0 and val > 0 and train + val < 1):
        faults.append(f"`--train-share` {train} and `--val-share` {val} leave a split empty")
    if settings.max_tokens < 1:
        faults.append(f"`--max-tokens` is {settings.max_tokens}, less than 1")
    if settings.max_bad_lines < 0:
        faults.append(f"`--max-bad-lines` is {settings.max_bad_lines}, less than 0")
    if faults:
        raise UsageError(
            "; ".join(faults), hint="shares are above 0 and together below 1, such as 0.8 and 0.1"
        )


def require_own_folder(folder: Path) -> None:
    """Raise UsageError if the folder to replace has files that do not belong to a dataset."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"`{folder}` is not a folder", hint="name another with `--output-dir`")
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    foreign = [name for name in names if name not in (*DATASET_FILES, *KEPT_FILES)]
    if foreign:
        listed = ", ".join(f"`{name}`" for name in foreign[:_SHOWN])
        raise UsageError(
            f"`{folder}` has files that do not belong to a dataset: {listed}",
            hint="the whole folder is replaced; move them away, or use another folder with"
            " `--output-dir`",
        )


def require_readable(
    rows: Sequence[ExaminedLine], path: Path, allowed: int, report: Reporter
) -> None:
    """Report the lines that cannot be used; raise DataRefused if there are too many.

    A last line that a crash cut off in the middle does not count.
    """
    bad = [row for row in rows if row.action == "quarantined"]
    bad_lines = [row for row in bad if not row.torn]
    listed = [f"`{path}` line {row.line}: {row.fault}" for row in bad[:_SHOWN]]
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    text = "\n".join([*listed, *more])
    if len(bad_lines) > allowed:
        raise DataRefused(
            text,
            hint=f"correct these lines, or leave them out with `--max-bad-lines {len(bad_lines)}`",
        )
    if bad:
        report(Caution(text, hint="these lines are left out; ledger.jsonl lists them"))


def require_allowed(
    rows: Sequence[ExaminedLine], path: Path, treatments: Mapping[str, Treatment]
) -> None:
    """Raise DataRefused if a row matches a rule that is set to `fail`; names all such rules."""
    refused: dict[str, list[int]] = {}
    for row in rows:
        for rule in row.rules:
            if treatments[rule] == "fail":
                refused.setdefault(rule, []).append(row.line)
    if refused:
        messages = [
            f"`{path}`: {counted(len(lines), 'row matches', 'rows match')} `{rule}`:"
            f" {_numbered(lines)}"
            for rule, lines in refused.items()
        ]
        raise DataRefused(
            "\n".join(messages), hint="correct these rows, or use another action than `fail`"
        )


def require_field(rows: Sequence[ExaminedLine], field: str, name: str) -> None:
    """Raise DataRefused if a row does not have the field to split by. name: in the log."""
    lines = [row.line for row in rows if getattr(row, field) is None]
    if lines:
        raise DataRefused(
            f"{counted(len(lines), 'row has', 'rows have')} no `$.{name}` to split by:"
            f" {_numbered(lines)}",
            hint="add it to the log, or split by prompt: `--split-by prompt`",
        )


def _numbered(lines: Sequence[int]) -> str:
    listed = ", ".join(map(str, lines[:_SHOWN]))
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"{'line' if len(lines) == 1 else 'lines'} {listed}{more}"


def require_rows(
    rows: Sequence[ExaminedLine], path: Path, findings: Table, report: Reporter
) -> None:
    """Raise DataRefused with the reasons if no row is left, after reporting the table."""
    if any(row.used for row in rows):
        return
    report(findings)
    reasons = Counter("quarantined" if row.action == "quarantined" else row.reason for row in rows)
    counts = ", ".join(f"{count} {rule}" for rule, count in reasons.most_common())
    raise DataRefused(
        f"no row of `{path}` can be used: {len(rows)} rows"
        + (f", of them {counts}" if counts else ""),
        hint="log complete, successful answers; `--policy seed` keeps every success",
    )


def require_every_split(counts: SplitCounts, prompts: int) -> None:
    """Raise DataRefused if a split would be empty."""
    sizes = dict(zip(SPLITS, (counts.train, counts.val, counts.test), strict=True))
    missing = [f"`{name}`" for name, size in sizes.items() if not size]
    if missing:
        rows = sum(sizes.values())
        raise DataRefused(
            f"{' and '.join(missing)} would be empty: {rows} rows with {prompts} distinct prompts"
            f" make {counts.train}/{counts.val}/{counts.test}",
            hint="shares of 0.8 and 0.1 need at least 10 rows with distinct prompts; log more, or"
            " raise `--val-share`",
        )
