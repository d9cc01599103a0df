"""The log of the `llm` command line tool (logs.db): tables `turns` (0.32 on) and `responses`.

Every model call is an interaction, with the earlier turns of its conversation. A call in both
tables counts once. A row's line is its `rowid`. Left out: calls with attachments.
"""

from collections.abc import Iterator
from pathlib import Path

from journeyman.collect.reading import llm_responses, llm_turns
from journeyman.collect.reading.log_format import Format, FormatMatch, Sample
from journeyman.collect.reading.row_result import RowResult
from journeyman.collect.reading.sqlite import is_sqlite, open_read_only, tables_of
from journeyman.errors import DataRefused, UsageError

NAME = "llm-sqlite"


def _read(path: Path, agent: str) -> Iterator[list[RowResult]]:
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path, or name another file")
    if not is_sqlite(path):
        raise DataRefused(
            f"`{path}` is not an SQLite database", hint="see `journeyman collect formats`"
        )
    with open_read_only(path) as connection:
        tables = tables_of(connection)
        if not llm_turns.is_present(tables) and not llm_responses.is_present(tables):
            raise DataRefused(
                f"`{path}` has no table `turns` or `responses` of the `llm` tool",
                hint="`llm logs path` prints where its log is",
            )
        known: set[str] = set()
        if llm_turns.is_present(tables):
            yield from llm_turns.read(connection, NAME, agent, known)
        if llm_responses.is_present(tables):
            yield from llm_responses.read(connection, tables, NAME, agent, known)


def _match(sample: Sample) -> FormatMatch:
    if sample.kind != "SQLite database":
        return FormatMatch(0, 1, "the file is not an SQLite database")
    if llm_turns.is_present(sample.tables) or llm_responses.is_present(sample.tables):
        return FormatMatch(1, 1)
    return FormatMatch(
        0, 1, "it has no table `turns` or `responses` with the columns of the `llm` tool"
    )


FORMAT = Format(
    name=NAME,
    description="the log of the `llm` command line tool (logs.db)",
    match=_match,
    read=_read,
)
