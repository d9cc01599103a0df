"""The log of the `llm` command line tool (logs.db): tables `turns` (0.32 on) and `responses`.

Every call of a model is an interaction, with the turns before it in its conversation. A call that
stands in both tables counts once. A row's line is its `rowid`. Left out: calls with attachments.
"""

from collections.abc import Iterator
from pathlib import Path

from journeyman.collect.formats import llm_responses, llm_turns
from journeyman.collect.reading.format import Format, FormatMatch, Item, Sample
from journeyman.collect.reading.sqlite import is_sqlite, opened, tables_of
from journeyman.errors import DataRefused, UsageError

NAME = "llm-sqlite"


def _read(path: Path, agent: str) -> Iterator[list[Item]]:
    if not path.is_file():
        raise UsageError(f"`{path}` is not a file", hint="check the path, or name another file")
    if not is_sqlite(path):
        raise DataRefused(
            f"`{path}` is no SQLite database", hint="see `journeyman collect formats`"
        )
    with opened(path) as connection:
        tables = tables_of(connection)
        if not llm_turns.stand_in(tables) and not llm_responses.stand_in(tables):
            raise DataRefused(
                f"`{path}` has no table `turns` or `responses` of the `llm` tool",
                hint="`llm logs path` says where its log is",
            )
        known: set[str] = set()
        if llm_turns.stand_in(tables):
            yield from llm_turns.read(connection, tables, NAME, agent, known)
        if llm_responses.stand_in(tables):
            yield from llm_responses.read(connection, tables, NAME, agent, known)


def _misfit(sample: Sample) -> FormatMatch:
    if sample.kind != "SQLite database":
        return FormatMatch(0, 1, "it is no SQLite database")
    if llm_turns.stand_in(sample.tables) or llm_responses.stand_in(sample.tables):
        return FormatMatch(1, 1)
    return FormatMatch(
        0, 1, "it has no table `turns` or `responses` with the columns of the `llm` tool"
    )


FORMAT = Format(
    name=NAME,
    what="the log of the `llm` command line tool (logs.db)",
    misfit=_misfit,
    read=_read,
)
