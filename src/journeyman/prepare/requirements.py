"""When a log or a place is not fit for a dataset: every reason to refuse, said at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from journeyman.data.dataset import LEDGER, METADATA, PAGE, TEST, TRAIN, VAL
from journeyman.errors import DataRefused, UsageError
from journeyman.events import Caution, Reporter, Table, counted
from journeyman.prepare.row_findings import ExaminedLine
from journeyman.prepare.rules.registry import Does
from journeyman.prepare.split.group_split import SPLITS, SplitCounts
from journeyman.runs import MANIFEST
from journeyman.settings import PrepareSettings

OWN_FILES = (TRAIN, VAL, TEST, METADATA, LEDGER, PAGE, MANIFEST)
CARRIED_FILES = (".gitignore", ".gitkeep")
_SHOWN = 10


def require_settings(settings: PrepareSettings) -> None:
    """Raise UsageError that names every setting which cannot be used."""
    train, val = settings.train_share, settings.val_share
    faults = []
    if not (train > 0 and val > 0 and train + val < 1):
        faults.append(f"`--train-share` {train} and `--val-share` {val} leave a split without rows")
    if settings.max_tokens < 1:
        faults.append(f"`--max-tokens` is {settings.max_tokens}, less than 1")
    if settings.max_bad_lines < 0:
        faults.append(f"`--max-bad-lines` is {settings.max_bad_lines}, less than 0")
    if faults:
        raise UsageError(
            "; ".join(faults), hint="shares are above 0 and together below 1, as 0.8 and 0.1"
        )


def require_own_folder(folder: Path) -> None:
    """Raise UsageError where a folder to replace holds anything that is not a dataset's."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"`{folder}` is not a folder", hint="name another with `--output-dir`")
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    foreign = [name for name in names if name not in (*OWN_FILES, *CARRIED_FILES)]
    if foreign:
        listed = ", ".join(f"`{name}`" for name in foreign[:_SHOWN])
        raise UsageError(
            f"`{folder}` holds files that are no dataset's: {listed}",
            hint="a dataset is replaced as a whole; move them away, or name another folder with"
            " `--output-dir`",
        )


def require_readable(
    rows: Sequence[ExaminedLine], path: Path, allowed: int, report: Reporter
) -> None:
    """Report the lines that cannot be used; raise DataRefused where they are too many.

    A last line that a crash cut off in the middle is never one too many.
    """
    bad = [row for row in rows if row.action == "quarantined"]
    counted = [row for row in bad if not row.torn]
    listed = [f"`{path}` line {row.line}: {row.fault}" for row in bad[:_SHOWN]]
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    text = "\n".join([*listed, *more])
    if len(counted) > allowed:
        raise DataRefused(
            text,
            hint=f"correct these lines, or leave them out with `--max-bad-lines {len(counted)}`",
        )
    if bad:
        report(
            Caution(text, hint="they are left out and stand in ledger.jsonl; nothing else is lost")
        )


def require_allowed(rows: Sequence[ExaminedLine], path: Path, does: Mapping[str, Does]) -> None:
    """Raise DataRefused where a row matches a rule that shall fail; all such rules are named."""
    refused: dict[str, list[int]] = {}
    for row in rows:
        for rule in row.rules:
            if does[rule] == "fail":
                refused.setdefault(rule, []).append(row.line)
    if refused:
        told = []
        for rule, lines in refused.items():
            listed = ", ".join(map(str, lines[:_SHOWN]))
            more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
            told.append(
                f"`{path}`: {counted(len(lines), 'row matches', 'rows match')} `{rule}`:"
                f" {'line' if len(lines) == 1 else 'lines'} {listed}{more}"
            )
        raise DataRefused(
            "\n".join(told), hint="correct these rows, or do not ask for `fail` with `--rule`"
        )


def require_rows(
    rows: Sequence[ExaminedLine], path: Path, findings: Table, report: Reporter
) -> None:
    """Raise DataRefused with the reasons where no row is left; the table is reported before."""
    if any(row.used for row in rows):
        return
    report(findings)
    reasons = Counter("quarantined" if row.action == "quarantined" else row.reason for row in rows)
    told = ", ".join(f"{count} {rule}" for rule, count in reasons.most_common())
    raise DataRefused(
        f"no row of `{path}` can be used: {len(rows)} rows" + (f", of them {told}" if told else ""),
        hint="log whole, successful answers; `--policy seed` keeps every success",
    )


def require_every_split(counts: SplitCounts, prompts: int) -> None:
    """Raise DataRefused where a split would have no row."""
    sizes = dict(zip(SPLITS, (counts.train, counts.val, counts.test), strict=True))
    missing = [f"`{name}`" for name, size in sizes.items() if not size]
    if missing:
        rows = sum(sizes.values())
        raise DataRefused(
            f"{' and '.join(missing)} would hold no row: {rows} rows with {prompts} distinct"
            f" prompts make {counts.train}/{counts.val}/{counts.test}",
            hint="at least 10 rows with distinct prompts are needed for 0.8 and 0.1; log more, or"
            " raise `--val-share`",
        )
