"""Which format a file is in, by the structure of its beginning and not by its name.

All formats that can be read. To add one, write its module and put its `FORMAT` here.
"""

from itertools import islice
from pathlib import Path

import msgspec

from journeyman.collect.formats import (
    alpaca,
    anthropic_messages,
    chat_completions,
    claude_code,
    journeyman_log,
    llm_sqlite,
    openai_chat,
    otel_genai,
    prompt_completion,
    sharegpt,
)
from journeyman.collect.reading.format import Format, FormatMatch, JsonObject, Sample
from journeyman.collect.reading.rows import Value, is_list, values_of
from journeyman.collect.reading.sqlite import is_sqlite, opened, tables_of
from journeyman.errors import UsageError
from journeyman.events import Table

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


FORMATS: tuple[Format, ...] = (
    journeyman_log.FORMAT,
    openai_chat.FORMAT,
    chat_completions.FORMAT,
    anthropic_messages.FORMAT,
    sharegpt.FORMAT,
    alpaca.FORMAT,
    prompt_completion.FORMAT,
    claude_code.FORMAT,
    llm_sqlite.FORMAT,
    otel_genai.FORMAT,
)


def format_named(name: str) -> Format:
    """The format of a name."""
    found = next((one for one in FORMATS if one.name == name), None)
    if found is None:
        names = ", ".join(f"`{one.name}`" for one in FORMATS)
        raise UsageError(
            f"there is no format `{name}`; there are {names}",
            hint="see `journeyman collect formats`",
        )
    return found


def formats_table() -> Table:
    """The formats to read side by side."""
    return Table("", ("format", "what it is"), tuple((one.name, one.what) for one in FORMATS))
