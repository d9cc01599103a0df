"""This project's own log format; see docs/data-format.md."""

from collections.abc import Iterator
from pathlib import Path

from journeyman.collect.reading.json_rows import JsonObject
from journeyman.collect.reading.log_format import Format, match_rows
from journeyman.collect.reading.row_result import RowResult
from journeyman.data.interactions import read_interactions


def _read(path: Path, agent: str) -> Iterator[list[RowResult]]:  # noqa: ARG001 - every row names its agent
    return ([item] for item in read_interactions(path))


def _mismatch(row: JsonObject) -> str:
    missing = [name for name in ("task", "agent", "execution") if name not in row]
    return f"no `{missing[0]}`" if missing else ""


FORMAT = Format(
    name="journeyman",
    description="this project's own log (task, agent, llm, execution)",
    match=match_rows(_mismatch),
    read=_read,
)
