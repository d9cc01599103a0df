"""Which format a file is in, by the structure of its beginning and not by its name."""

from itertools import islice
from pathlib import Path

import msgspec

from journeyman.collect.formats.format import Format, FormatMatch, JsonObject, Sample
from journeyman.collect.formats.known import FORMATS
from journeyman.collect.formats.rows import Value, is_list, values_of
from journeyman.collect.formats.sqlite_file import is_sqlite, opened, tables_of
from journeyman.errors import UsageError

ROWS = 50
"""So many rows of a file are looked at, each below the limit of a line."""

_ANY = msgspec.json.Decoder(object)


def detect(path: Path) -> Format:
    """The one format that fits most rows of the file's beginning.

    Raises UsageError that names every format and why it does not fit, or those between which the
    rows do not decide; also where the file is missing or no text.
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path, or name another file")
    sample = sample_of(path)
    fits = [(one, one.misfit(sample)) for one in FORMATS]
    good = [(fit.k, one) for one, fit in fits if fit.good]
    best = [one for k, one in good if k == max(k for k, _ in good)]
    if len(best) == 1:
        return best[0]
    if best:
        names = " and ".join(f"`{one.name}`" for one in best)
        raise UsageError(
            f"`{path}` can be read as {names} alike",
            hint="say which one it is: `--format NAME`",
        )
    tried = "".join(f"\n  {one.name}: {_why_not(fit)}" for one, fit in fits)
    raise UsageError(
        f"`{path}` is in no format that is known here; tried:{tried}",
        hint="name its format with `--format NAME`, or see `journeyman collect formats`",
    )


def sample_of(path: Path) -> Sample:
    """The beginning of a file: rows that are no JSON objects are passed over."""
    if is_sqlite(path):
        with opened(path) as connection:
            return Sample("SQLite database", tables=tables_of(connection))
    values = islice(values_of(path, _ANY), ROWS)
    rows = [row.value for row in values if isinstance(row, Value)]
    objects: list[JsonObject] = [row for row in rows if isinstance(row, dict)]
    return Sample("JSON list" if is_list(path) else "JSON lines", rows=tuple(objects))


def _why_not(fit: FormatMatch) -> str:
    return f"{fit.reason} ({fit.k} of {fit.n} rows fit)" if fit.k else fit.reason
