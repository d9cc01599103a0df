"""This project's own log format; docs/data-format.md describes it."""

from collections.abc import Iterator
from pathlib import Path

from journeyman.collect.reading.format import Format, Item, JsonObject, by_row
from journeyman.data.interactions import read_interactions


def _read(path: Path, agent: str) -> Iterator[list[Item]]:  # noqa: ARG001 - rows name their own
    return ([item] for item in read_interactions(path))


def _against(row: JsonObject) -> str:
    missing = [name for name in ("task", "agent", "execution") if name not in row]
    return f"no `{missing[0]}`" if missing else ""


FORMAT = Format(
    name="journeyman",
    what="this project's own log (task, agent, llm, execution)",
    misfit=by_row(_against),
    read=_read,
)
