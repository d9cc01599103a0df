"""Detects the format of a log from the structure of its first rows, not from its name."""

from itertools import islice
from pathlib import Path

import msgspec

from journeyman.collect.formats.registry import FORMATS
from journeyman.collect.reading.json_rows import JsonObject, ParsedRow, is_list, parsed_rows
from journeyman.collect.reading.log_format import Format, FormatMatch, Sample
from journeyman.collect.reading.sqlite import is_sqlite, open_read_only, tables_of
from journeyman.errors import UsageError

SAMPLE_ROWS = 50

_ANY = msgspec.json.Decoder(object)


def detect(path: Path) -> Format:
    """The format that matches most rows of the file's beginning.

    Raises UsageError if none or several match equally well, with the reasons, and if the file is
    missing or not text.
    """
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path, or name another file")
    sample = sample_of(path)
    matches = [(one, one.match(sample)) for one in FORMATS]
    most = max((match.matching for _, match in matches if match.is_match), default=0)
    best = [one for one, match in matches if match.is_match and match.matching == most]
    if len(best) == 1:
        return best[0]
    if best:
        names = " and ".join(f"`{one.name}`" for one in best)
        raise UsageError(
            f"`{path}` matches {names} equally well", hint="choose one with `--format NAME`"
        )
    tried = "".join(f"\n  {one.name}: {_why_not(match)}" for one, match in matches)
    raise UsageError(
        f"`{path}` has no known format; tried:{tried}",
        hint="name its format with `--format NAME`, or see `journeyman collect formats`",
    )


def sample_of(path: Path) -> Sample:
    """The beginning of a file. Rows that are not JSON objects are ignored."""
    if is_sqlite(path):
        with open_read_only(path) as connection:
            return Sample("SQLite database", tables=tables_of(connection))
    rows = islice(parsed_rows(path, _ANY), SAMPLE_ROWS)
    values = [row.value for row in rows if isinstance(row, ParsedRow)]
    objects: list[JsonObject] = [value for value in values if isinstance(value, dict)]
    return Sample("JSON list" if is_list(path) else "JSON lines", rows=tuple(objects))


def _why_not(match: FormatMatch) -> str:
    counts = f" ({match.matching} of {match.rows} rows match)" if match.matching else ""
    return match.reason + counts
